"""Engines at a set pace: right answers, on a clock that the test owns."""

from collections.abc import Mapping
from pathlib import Path

from model.manifest import Precision
from predictor.engine import ENGINES
from predictor.engine.base import Batch, Device, Engine, EngineOutput


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class PacedEngine:
    """Takes a fixed time and a time per image."""

    def __init__(self, kind: "PacedKind", precision: Precision, device: Device) -> None:
        self.name = kind.name
        self.precision = precision
        self.device: Device = device
        self.sizes: list[int] = []
        self._kind = kind

    def run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
        self.sizes.append(len(images))
        fixed, per_image = self._kind.pace
        self._kind.clock.now += fixed + per_image * len(images)
        return self._kind.inner.run(images, want_cam=want_cam)

    def close(self) -> None:
        self._kind.loaded.remove(self)


class PacedKind:
    artefacts: Mapping[Precision, str] = {"fp32": "model.onnx"}
    devices: tuple[Device, ...] = ("cpu",)
    packages: tuple[str, ...] = ("numpy",)

    def __init__(self, name: str, clock: Clock, fixed: float, per_image: float) -> None:
        self.name = name
        self.clock = clock
        self.pace = (fixed, per_image)
        self.loaded: list[PacedEngine] = []
        self.opened = 0
        self.inner: Engine

    def unavailable(self, device: Device) -> str | None:
        return None

    def open(
        self,
        file: Path,
        precision: Precision,
        threads: int,
        device: Device = "cpu",
        cache: Path | None = None,
    ) -> Engine:
        self.inner = ENGINES["onnxruntime"].open(file, precision, threads)
        self.opened += 1
        self.loaded.append(PacedEngine(self, precision, device))
        return self.loaded[-1]
