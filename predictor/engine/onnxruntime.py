"""ONNX Runtime on the CPU, on a GPU through CUDA, and on a GPU through TensorRT."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from model.manifest import GRAPH_INT8, GRAPH_ONNX, Precision
from predictor.engine.base import Batch, Device, Engine, EngineOutput, not_installed
from predictor.engine.gpu import no_gpu

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
_ANSWER = ["logits", "probabilities"]
_EXPLAINED = [*_ANSWER, "cam"]

Provider = tuple[str, dict[str, str]]

_ON_CPU: list[Provider] = [(_CPU, {})]
_ON_CUDA: list[Provider] = [
    # FP32 is FP32: TF32 keeps 10 bits of the mantissa, and the self-test would rightly object. An
    # exhaustive search for algorithms would be run anew for every batch size.
    (_CUDA, {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
    *_ON_CPU,
]


class OnnxRuntimeKind:
    """Opens `model.onnx` and `model.int8.onnx`."""

    artefacts: Mapping[Precision, str] = {"fp32": GRAPH_ONNX, "int8": GRAPH_INT8}
    devices: tuple[Device, ...] = ("cuda", "cpu")
    packages: tuple[str, ...] = ("onnxruntime", "onnxruntime-gpu")

    def unavailable(self, device: Device) -> str | None:
        reason = not_installed("onnxruntime")
        if reason is None and device == "cuda":
            reason = no_gpu() or _not_built(_CUDA)
        return reason

    def open(
        self,
        file: Path,
        precision: Precision,
        threads: int,
        device: Device = "cpu",
        cache: Path | None = None,
    ) -> Engine:
        providers = _ON_CUDA if device == "cuda" else _ON_CPU
        session = _session(file, threads, providers)
        return OnnxRuntimeEngine("onnxruntime", session, precision, device)


class TensorRtKind:
    """Opens `model.onnx` with TensorRT, which compiles for the GPU at hand; it takes minutes."""

    # TensorRT wants INT8 quantised in a form of its own.
    artefacts: Mapping[Precision, str] = {"fp32": GRAPH_ONNX}
    devices: tuple[Device, ...] = ("cuda",)
    packages: tuple[str, ...] = ("onnxruntime-gpu", "tensorrt")

    def unavailable(self, device: Device) -> str | None:
        if find_spec("tensorrt") is None:
            return "tensorrt is not installed"
        return not_installed("onnxruntime") or no_gpu() or _not_built(_TENSORRT)

    def open(
        self,
        file: Path,
        precision: Precision,
        threads: int,
        device: Device = "cuda",
        cache: Path | None = None,
    ) -> Engine:
        # Its libraries are inside the package, where only it finds them.
        import tensorrt  # type: ignore[import-not-found]  # noqa: F401

        providers = [(_TENSORRT, tensorrt_options(cache)), *_ON_CUDA]
        session = _session(file, threads, providers)
        return OnnxRuntimeEngine("tensorrt", session, precision, device)


class OnnxRuntimeEngine:
    """A session of one artefact."""

    def __init__(self, name: str, session: Any, precision: Precision, device: Device) -> None:
        self.name = name
        self.precision: Precision = precision
        self.device: Device = device
        self._session = session
        self._run = self._run_on_cpu if device == "cpu" else self._run_bound

    def run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
        wanted = _EXPLAINED if want_cam else _ANSWER
        outputs = self._run(wanted, np.ascontiguousarray(images))
        return EngineOutput(outputs[0], outputs[1], outputs[2] if want_cam else None)

    def close(self) -> None:
        self._session = None

    def _run_on_cpu(self, wanted: list[str], images: Batch) -> Sequence[Any]:
        outputs: Sequence[Any] = self._session.run(wanted, {"image": images})
        return outputs

    def _run_bound(self, wanted: list[str], images: Batch) -> Sequence[Any]:
        # One copy to the device, and back only what was asked for.
        binding = self._session.io_binding()
        binding.bind_cpu_input("image", images)
        for name in wanted:
            binding.bind_output(name, self.device)
        self._session.run_with_iobinding(binding)
        outputs: Sequence[Any] = binding.copy_outputs_to_cpu()
        return outputs


def tensorrt_options(cache: Path | None) -> dict[str, str]:
    """Options of the TensorRT provider; compiled graphs are kept where there is a place."""
    options = {"trt_fp16_enable": "0", "trt_int8_enable": "0"}
    if cache is not None:
        options["trt_engine_cache_enable"] = options["trt_timing_cache_enable"] = "1"
        options["trt_engine_cache_path"] = options["trt_timing_cache_path"] = str(cache)
    return options


def _not_built(provider: str) -> str | None:
    import onnxruntime

    built = provider in onnxruntime.get_available_providers()
    return None if built else f"this build of onnxruntime has no {provider}"


def _session(file: Path, threads: int, providers: list[Provider]) -> Any:
    import onnxruntime

    first = providers[0][0]
    if first != _CPU:
        # CUDA's libraries come as Python packages that the loader does not search by itself.
        onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(
        str(file), sess_options=_options(onnxruntime, threads), providers=providers
    )
    # A provider that fails to start is dropped with a mere warning.
    if session.get_providers()[0] != first:
        raise RuntimeError(f"{first} does not start; running are {session.get_providers()}")
    return session


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
