"""Where a training computes, and in which precision."""

import random
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch.amp import GradScaler

from train.errors import ConfigError
from train.recipe import LoopConfig


def choose_device(wanted: str) -> torch.device:
    """The device of a setting `auto`, `cpu` or `cuda`."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("loop.device is 'cuda', but no CUDA device is available; accepted: cpu")
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


def seed_everything(seed: int) -> None:
    """Seed every generator that training draws from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries draw from the legacy generator
    torch.manual_seed(seed)


@dataclass(frozen=True)
class Precision:
    """Single precision, or a half one for the operations that bear it.

    Attributes:
        device: where the forward pass runs.
        half: `torch.bfloat16`, `torch.float16`, or None for single precision throughout.
    """

    device: torch.device
    half: torch.dtype | None

    @classmethod
    def of(cls, loop: LoopConfig, device: torch.device) -> "Precision":
        if loop.amp == "off" or device.type != "cuda":
            return cls(device, None)
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return cls(device, torch.bfloat16 if native else torch.float16)

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass and its loss."""
        return torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None)

    def scaler(self) -> GradScaler:
        """Scales the loss where its gradients could vanish.

        bfloat16 has the range of float32 and needs no loss scaling; float16 does.
        """
        return GradScaler(self.device.type, enabled=self.half is torch.float16)
