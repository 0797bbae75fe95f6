"""Where a training computes, and in which precision."""

import os
import random
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch.amp import GradScaler

from train.errors import ConfigError
from train.launch import ALONE, Launch
from train.recipe import LoopConfig


def choose_device(wanted: str, launch: Launch = ALONE) -> torch.device:
    """The device of a setting `auto`, `cpu` or `cuda`; each process gets a GPU of its own.

    Raises:
        ConfigError: a GPU is wanted, and there is none, or none for each process.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("loop.device is 'cuda', but no CUDA device is available; accepted: cpu")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if launch.alone:
        return torch.device("cuda")
    count = torch.cuda.device_count()
    if launch.local_size > count:
        raise ConfigError(
            f"torchrun has started {launch.local_size} processes on this machine, which has "
            f"{count} GPU(s) to use; start one for each (--nproc-per-node={count}), or set "
            "loop.device=cpu"
        )
    device = torch.device("cuda", launch.local_rank)
    torch.cuda.set_device(device)
    return device


def seed_of_rank(seed: int, rank: int) -> int:
    """A seed for what each of several processes draws for itself."""
    return int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])


def set_determinism(deterministic: bool) -> None:
    """Let torch use only operations that give the same answer each time, or any.

    cuBLAS reads its setting when it first computes on a GPU, so this comes before.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False


def seed_everything(seed: int) -> None:
    """Seed every generator that training draws from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries draw from the legacy generator
    torch.manual_seed(seed)


def memory_format(loop: LoopConfig) -> torch.memory_format:
    """How images, weights and what lies between lie in memory."""
    return torch.channels_last if loop.channels_last else torch.contiguous_format


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
        """The precision of a setting `off`, `auto`, `bf16` or `fp16`.

        Raises:
            ConfigError: bf16 is demanded of a GPU that has none.
        """
        on_gpu = device.type == "cuda"
        if loop.amp == "off" or (loop.amp == "auto" and not on_gpu):
            return cls(device, None)
        native = not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False)
        if loop.amp == "bf16" and not native:
            raise ConfigError(
                f"loop.amp is 'bf16', which {torch.cuda.get_device_name(device)} does not have; "
                "accepted: auto, fp16, off"
            )
        half = loop.amp == "fp16" or not native
        return cls(device, torch.float16 if half else torch.bfloat16)

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass and its loss."""
        return torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None)

    def scaler(self) -> GradScaler:
        """Scales the loss where its gradients could vanish.

        bfloat16 has the range of float32 and needs no loss scaling; float16 does.
        """
        return GradScaler(self.device.type, enabled=self.half is torch.float16)
