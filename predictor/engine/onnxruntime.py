"""ONNX Runtime, on the GPU where its CUDA provider really starts, else on the CPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.manifest import GRAPH_INT8, GRAPH_ONNX, Precision
from predictor.engine.base import Batch, Engine, EngineOutput

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_ANSWER = ["logits", "probabilities"]
_EXPLAINED = [*_ANSWER, "cam"]


class OnnxRuntimeKind:
    """Opens `model.onnx` and `model.int8.onnx`."""

    artefacts: Mapping[Precision, str] = {"fp32": GRAPH_ONNX, "int8": GRAPH_INT8}

    def unavailable(self) -> str | None:
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            return f"onnxruntime cannot be imported: {error}"
        return None

    def open(self, file: Path, precision: Precision, threads: int) -> Engine:
        import onnxruntime

        providers = [_CPU]
        if _CUDA in onnxruntime.get_available_providers():
            # CUDA's libraries come as Python packages that the loader does not search by itself.
            onnxruntime.preload_dlls()
            providers.insert(0, _CUDA)
        session = onnxruntime.InferenceSession(
            str(file), sess_options=_options(onnxruntime, threads), providers=providers
        )
        return OnnxRuntimeEngine(session, precision)


class OnnxRuntimeEngine:
    """A session of one artefact."""

    name = "onnxruntime"

    def __init__(self, session: Any, precision: Precision) -> None:
        self._session = session
        self.precision: Precision = precision
        # A provider that fails to start is dropped with a mere warning; this is what runs.
        self.device = "cuda" if session.get_providers()[0] == _CUDA else "cpu"

    def run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
        wanted = _EXPLAINED if want_cam else _ANSWER
        outputs = self._session.run(wanted, {"image": np.ascontiguousarray(images)})
        return EngineOutput(outputs[0], outputs[1], outputs[2] if want_cam else None)

    def close(self) -> None:
        self._session = None


def _options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # A memory pattern is kept for every batch size that occurs; with adaptive batches that is
    # memory for no gain. The arena itself stays: fresh pages for every run cost more.
    options.enable_mem_pattern = False
    # Idle threads that spin would take the CPUs from the decoders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options
