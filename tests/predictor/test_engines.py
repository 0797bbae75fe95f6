"""Every engine of the registry, as far as it runs without a GPU.

No GPU can be had here: of CUDA and TensorRT it is checked how they are selected and refused, and
the bound run that a GPU gets is run on the CPU's provider.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from model.bundle import Bundle
from model.manifest import Precision
from predictor.engine import ENGINES
from predictor.engine import onnxruntime as ort_module
from predictor.engine.base import Engine
from predictor.engine.gpu import gpu_models, no_gpu
from predictor.engine.onnxruntime import OnnxRuntimeEngine, OnnxRuntimeKind, tensorrt_options
from predictor.engine.openvino import OpenVinoKind
from predictor.engine.selftest import self_test
from predictor.engine.torchscript import TorchScriptKind
from tests.predictor.bundles import phantoms, quantised
from train.inference import Answers
from train.quantize import reference_difference, tolerance

ON_CPU = [name for name, kind in ENGINES.items() if "cpu" in kind.devices]
INT8 = [name for name in ON_CPU if "int8" in ENGINES[name].artefacts]


@pytest.fixture(scope="module")
def int8_bundle(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return quantised(bundle, tmp_path_factory.mktemp("bundles") / "int8")


def opened(bundle: Bundle, name: str, precision: Precision = "fp32") -> Engine:
    kind = ENGINES[name]
    return kind.open(bundle.path / kind.artefacts[precision], precision, 1)


@pytest.mark.parametrize("name", ON_CPU)
def test_every_engine_gives_the_reference_s_answers_at_every_batch_size(
    bundle: Bundle, name: str
) -> None:
    engine, reference = opened(bundle, name), bundle.reference()
    for size in range(1, 9):
        images = np.resize(reference.image, (size, *reference.image.shape[1:]))
        output = engine.run(images, want_cam=True)
        for found, expected in (
            (output.logits, reference.logits),
            (output.probabilities, reference.probabilities),
            (output.cam, reference.cam),
        ):
            assert found is not None
            assert found.dtype == np.float32
            assert found == pytest.approx(np.resize(expected, found.shape), abs=1e-4)
    assert (engine.name, engine.precision, engine.device) == (name, "fp32", "cpu")
    assert engine.run(reference.image, want_cam=False).cam is None


@pytest.mark.parametrize("name", ON_CPU)
def test_a_later_run_leaves_earlier_answers_alone(
    bundle: Bundle, name: str, pictures: npt.NDArray[np.uint8]
) -> None:
    engine = opened(bundle, name)
    first = engine.run(pictures[:4], want_cam=True)
    assert first.cam is not None
    parts = (first.logits, first.probabilities, first.cam)
    kept = [part.copy() for part in parts]
    engine.run(pictures[4:], want_cam=True)
    assert all(np.array_equal(*pair) for pair in zip(parts, kept, strict=True))


@pytest.mark.parametrize("name", ON_CPU)
def test_engines_take_views_and_read_only_memory(
    bundle: Bundle, name: str, pictures: npt.NDArray[np.uint8]
) -> None:
    engine = opened(bundle, name)
    frozen = np.frombuffer(pictures[::-1].tobytes(), np.uint8).reshape(pictures.shape)
    flipped = engine.run(pictures[::-1], want_cam=False)
    assert np.array_equal(engine.run(frozen, want_cam=False).logits, flipped.logits)
    assert np.array_equal(frozen, pictures[::-1])


@pytest.mark.parametrize("name", ON_CPU)
def test_every_engine_passes_the_self_test_of_its_own_bundle(bundle: Bundle, name: str) -> None:
    tolerated = bundle.manifest.tolerance["fp32"]
    test = self_test(opened(bundle, name), bundle.reference(), tolerated, 4)
    assert test.passed
    assert test.probabilities < 1e-5
    assert test.cam < 1e-4


@pytest.mark.parametrize("name", INT8)
def test_a_really_quantised_artefact_runs_and_is_near_the_reference(
    int8_bundle: Bundle, name: str
) -> None:
    file, reference = int8_bundle.path / "model.int8.onnx", int8_bundle.reference()
    images = phantoms(5, seed=4)
    output = opened(int8_bundle, name, "int8").run(images, want_cam=True)
    exact = opened(int8_bundle, name).run(images, want_cam=True)
    assert output.probabilities == pytest.approx(exact.probabilities, abs=0.2)
    assert not np.array_equal(output.probabilities, exact.probabilities)
    if name == "onnxruntime":
        answers = Answers(reference.logits, reference.probabilities, reference.cam)
        tolerated = tolerance(reference_difference(file, reference.image, answers))
        assert self_test(opened(int8_bundle, name, "int8"), reference, tolerated, 4).passed


@pytest.mark.parametrize("name", ON_CPU)
def test_a_damaged_artefact_does_not_open(tmp_path: Path, name: str) -> None:
    (tmp_path / "model").write_bytes(b"not a graph")
    with pytest.raises(Exception, match=r"(?i)protobuf|archive|model"):
        ENGINES[name].open(tmp_path / "model", "fp32", 1)


def test_openvino_computes_fp32_in_fp32_with_the_threads_it_is_given(bundle: Bundle) -> None:
    # On a CPU with AMX it would take bfloat16 if it were not told otherwise.
    engine = OpenVinoKind().open(bundle.path / "model.onnx", "fp32", 1)
    compiled = engine._request.get_compiled_model()  # type: ignore[attr-defined]
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("NUM_STREAMS") == 1


def test_openvino_reports_to_nobody_and_needs_no_torch(bundle: Bundle, tmp_path: Path) -> None:
    program = f"""
import sys
calls = []
def audit(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        calls.append(arguments)
sys.addaudithook(audit)
from pathlib import Path
import numpy as np
from predictor.engine.openvino import OpenVinoKind
engine = OpenVinoKind().open(Path({str(bundle.path / "model.onnx")!r}), "fp32", 1)
engine.run(np.zeros((1, 64, 64, 3), np.uint8), want_cam=True)
loaded = [name for name, module in sys.modules.items() if module is not None]
assert not [name for name in loaded if name.startswith(("torch", "openvino_telemetry"))], loaded
assert not calls, calls
"""
    # It is silent in continuous integration of its own accord: that is not what is checked.
    unset = ("CI", "TF_BUILD", "JENKINS_URL")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env={**environment, "HOME": str(tmp_path), "PYTHONPATH": "."},
        timeout=120,
    )
    assert list(tmp_path.iterdir()) == []


def test_the_run_that_a_gpu_gets_gives_the_same_answers(
    bundle: Bundle, pictures: npt.NDArray[np.uint8]
) -> None:
    session = onnxruntime.InferenceSession(
        bundle.path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    plain = OnnxRuntimeEngine("onnxruntime", session, "fp32", "cpu")
    bound = OnnxRuntimeEngine("onnxruntime", session, "fp32", "cpu")
    bound._run = bound._run_bound
    for size, want_cam in ((3, True), (8, False), (1, True)):
        one, other = (each.run(pictures[:size], want_cam=want_cam) for each in (plain, bound))
        assert np.array_equal(one.probabilities, other.probabilities)
        assert (other.cam is not None) == want_cam
        if one.cam is not None:
            assert other.cam is not None
            assert np.array_equal(one.cam, other.cam)


def test_without_a_gpu_its_engines_are_absent_and_none_is_imported() -> None:
    assert no_gpu() == "there is no GPU"
    assert OnnxRuntimeKind().unavailable("cuda") == "there is no GPU"
    assert TorchScriptKind().unavailable("cuda") == "there is no GPU"
    assert ENGINES["tensorrt"].unavailable("cuda") == "tensorrt is not installed"
    assert all(ENGINES[name].unavailable("cpu") is None for name in ON_CPU)


def test_a_gpu_shows_in_the_device_files_and_its_model_in_the_driver_s(tmp_path: Path) -> None:
    assert gpu_models(tmp_path) == []
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    gpu = tmp_path / "proc/driver/nvidia/gpus/0000:00:04.0"
    gpu.mkdir(parents=True)
    (gpu / "information").write_text("Model: \t\t NVIDIA T4\nIRQ:   \t\t 10\n")
    (gpu.parents[1] / "version").write_text("NVRM version: NVIDIA 580.1\nGCC version: 12\n")
    assert no_gpu(tmp_path) is None
    assert gpu_models(tmp_path) == ["NVRM version: NVIDIA 580.1", "Model: \t\t NVIDIA T4"]


def test_a_gpu_that_the_build_cannot_use_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort_module, "no_gpu", lambda: None)
    expected = "this build of onnxruntime has no CUDAExecutionProvider"
    assert OnnxRuntimeKind().unavailable("cuda") == expected


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
@pytest.mark.parametrize("name", ["onnxruntime", "torchscript"])
def test_a_device_that_does_not_work_is_an_error_and_never_another_device(
    bundle: Bundle, name: str
) -> None:
    kind = ENGINES[name]
    file = bundle.path / kind.artefacts["fp32"]
    with pytest.raises(RuntimeError, match=r"CUDAExec\w+ does not start|cannot use the"):
        kind.open(file, "fp32", 1, "cuda")


def test_compiled_graphs_of_tensorrt_are_kept_only_where_there_is_a_place(tmp_path: Path) -> None:
    assert not [name for name in tensorrt_options(None) if "cache" in name]
    assert tensorrt_options(tmp_path)["trt_engine_cache_path"] == str(tmp_path)
