from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from model.bundle import Bundle
from predictor.engine import ENGINES
from predictor.engine.base import Engine
from predictor.engine.selftest import self_test


def opened(bundle: Bundle, name: str) -> Engine:
    kind = ENGINES[name]
    return kind.open(bundle.path / kind.artefacts["fp32"], "fp32", 1)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("size", [1, 3, 8])
def test_every_engine_gives_the_graph_s_answers_at_any_batch_size(
    bundle: Bundle, name: str, size: int, pictures: npt.NDArray[np.uint8]
) -> None:
    engine = opened(bundle, name)
    output = engine.run(pictures[:size], want_cam=True)
    assert output.logits.shape == output.probabilities.shape == (size, 3)
    assert output.cam is not None
    assert output.cam.shape == (size, 3, 16, 16)
    assert output.probabilities.sum(axis=1) == pytest.approx(np.ones(size), abs=1e-5)
    alone = engine.run(pictures[:1], want_cam=False)
    assert alone.cam is None
    assert alone.probabilities[0] == pytest.approx(output.probabilities[0], abs=1e-5)
    assert (engine.name, engine.precision) == (name, "fp32")


@pytest.mark.parametrize("name", ENGINES)
def test_engines_take_views_and_read_only_memory(
    bundle: Bundle, name: str, pictures: npt.NDArray[np.uint8]
) -> None:
    engine = opened(bundle, name)
    frozen = np.frombuffer(pictures[::-1].tobytes(), np.uint8).reshape(pictures.shape)
    flipped = engine.run(pictures[::-1], want_cam=False)
    assert np.array_equal(engine.run(frozen, want_cam=False).logits, flipped.logits)


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_passes_the_self_test_of_its_own_bundle(bundle: Bundle, name: str) -> None:
    tolerance = bundle.manifest.tolerance["fp32"]
    test = self_test(opened(bundle, name), bundle.reference(), tolerance, 4)
    assert test.passed
    assert test.probabilities < 1e-5
    assert test.cam < 1e-4


@pytest.mark.parametrize("name", ENGINES)
def test_a_damaged_artefact_does_not_open(tmp_path: Path, name: str) -> None:
    (tmp_path / "model").write_bytes(b"not a graph")
    with pytest.raises(Exception, match=r"(?i)protobuf|archive|model"):
        ENGINES[name].open(tmp_path / "model", "fp32", 1)


def test_the_cpu_is_named_where_no_gpu_provider_starts(bundle: Bundle) -> None:
    expected = "cuda" if "CUDAExecutionProvider" in onnxruntime.get_available_providers() else "cpu"
    assert opened(bundle, "onnxruntime").device == expected
