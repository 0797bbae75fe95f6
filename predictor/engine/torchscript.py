"""TorchScript, on the GPU where there is one. Only images with torch can use it."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.manifest import GRAPH_TORCHSCRIPT, Precision
from predictor.engine.base import Batch, Device, Engine, EngineOutput, not_installed
from predictor.engine.gpu import no_gpu


class TorchScriptKind:
    """Opens `model.ts`."""

    artefacts: Mapping[Precision, str] = {"fp32": GRAPH_TORCHSCRIPT}
    devices: tuple[Device, ...] = ("cuda", "cpu")
    packages: tuple[str, ...] = ("torch",)

    def unavailable(self, device: Device) -> str | None:
        return not_installed("torch") or (no_gpu() if device == "cuda" else None)

    def open(
        self,
        file: Path,
        precision: Precision,
        threads: int,
        device: Device = "cpu",
        cache: Path | None = None,
    ) -> Engine:
        # Read when torch loads OpenMP: its threads would spin after every layer, and slow down
        # the decoders and whatever engine is measured against this one.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import torch

        torch.set_num_threads(threads)
        if device == "cuda":
            if not torch.cuda.is_available():
                raise RuntimeError("torch cannot use the GPU")
            # FP32 is FP32: TF32 keeps 10 bits of the mantissa.
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
        with warnings.catch_warnings():
            # torch announces the format's retirement at every load.
            warnings.simplefilter("ignore")
            module = torch.jit.load(str(file), map_location=device)  # type: ignore[no-untyped-call]
        return TorchScriptEngine(torch, module.eval(), device, precision)


class TorchScriptEngine:
    """A module loaded onto one device."""

    name = "torchscript"

    def __init__(self, torch: Any, module: Any, device: Device, precision: Precision) -> None:
        self._torch = torch
        self._module = module
        self.device: Device = device
        self.precision: Precision = precision

    def run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
        torch = self._torch
        with torch.inference_mode():
            # A view of another request's memory may be read-only, which torch warns about.
            image = torch.from_numpy(np.require(images, requirements=("C", "W"))).to(self.device)
            logits, probabilities, cam = self._module(image)
            return EngineOutput(
                logits.cpu().numpy(),
                probabilities.cpu().numpy(),
                cam.cpu().numpy() if want_cam else None,
            )

    def close(self) -> None:
        self._module = None
        if self.device == "cuda":
            self._torch.cuda.empty_cache()
