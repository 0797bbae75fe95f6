"""OpenVINO on the CPU. Where the CPU has VNNI or AMX it is often the fastest."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.manifest import GRAPH_INT8, GRAPH_ONNX, Precision
from predictor.engine.base import Batch, Device, Engine, EngineOutput, not_installed


class OpenVinoKind:
    """Opens `model.onnx` and `model.int8.onnx`."""

    artefacts: Mapping[Precision, str] = {"fp32": GRAPH_ONNX, "int8": GRAPH_INT8}
    devices: tuple[Device, ...] = ("cpu",)
    packages: tuple[str, ...] = ("openvino",)

    def unavailable(self, device: Device) -> str | None:
        return not_installed("openvino")

    def open(
        self,
        file: Path,
        precision: Precision,
        threads: int,
        device: Device = "cpu",
        cache: Path | None = None,
    ) -> Engine:
        compiled = _import_openvino().Core().compile_model(str(file), "CPU", _options(threads))
        return OpenVinoEngine(compiled.create_infer_request(), precision)


class OpenVinoEngine:
    """A compiled artefact with a batch of any size.

    A batch size costs some 0.1 s when it is first met and is remembered from then on. A graph
    compiled for that size alone is no faster, and every one of them would hold the weights again.
    """

    name = "openvino"
    device: Device = "cpu"

    def __init__(self, request: Any, precision: Precision) -> None:
        self.precision: Precision = precision
        self._request = request

    def run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
        outputs = self._request.infer(
            {"image": np.ascontiguousarray(images)}, share_inputs=True, share_outputs=True
        )
        # Shared, that is, overwritten by the next run; so only what is wanted is copied.
        return EngineOutput(
            outputs["logits"].copy(),
            outputs["probabilities"].copy(),
            outputs["cam"].copy() if want_cam else None,
        )

    def close(self) -> None:
        self._request = None


def _import_openvino() -> Any:
    # `import openvino` would import its converter, and that reports the import to a server of the
    # vendor without asking. Nothing leaves a hospital's network unasked, so both are kept out.
    for name in ("openvino.tools.ovc", "openvino_telemetry"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _options(threads: int) -> dict[str, Any]:
    return {
        # One batch at a time, with all threads at it.
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # The decoders need the same CPUs.
        "ENABLE_CPU_PINNING": False,
        # Else FP32 graphs are computed in bfloat16 where the CPU has instructions for it.
        "INFERENCE_PRECISION_HINT": "f32",
    }
