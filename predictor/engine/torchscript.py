"""TorchScript, on the GPU where there is one. Only images with torch can use it."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.manifest import GRAPH_TORCHSCRIPT, Precision
from predictor.engine.base import Batch, Engine, EngineOutput


class TorchScriptKind:
    """Opens `model.ts`."""

    artefacts: Mapping[Precision, str] = {"fp32": GRAPH_TORCHSCRIPT}

    def unavailable(self) -> str | None:
        try:
            import torch  # noqa: F401
        except ImportError as error:
            return f"torch cannot be imported: {error}"
        return None

    def open(self, file: Path, precision: Precision, threads: int) -> Engine:
        import torch

        torch.set_num_threads(threads)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with warnings.catch_warnings():
            # torch announces the format's retirement at every load.
            warnings.simplefilter("ignore")
            module = torch.jit.load(str(file), map_location=device)  # type: ignore[no-untyped-call]
        return TorchScriptEngine(torch, module.eval(), device, precision)


class TorchScriptEngine:
    """A module loaded onto one device."""

    name = "torchscript"

    def __init__(self, torch: Any, module: Any, device: str, precision: Precision) -> None:
        self._torch = torch
        self._module = module
        self.device = device
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
