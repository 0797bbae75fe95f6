import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from model.bundle import Bundle
from model.manifest import Precision
from predictor.engine import ENGINES
from predictor.engine import choice as module
from predictor.engine.base import Batch, Engine, EngineKind, EngineOutput
from predictor.engine.choice import Candidate, choose
from predictor.engine.selftest import SelfTest
from predictor.errors import StartError
from predictor.metrics import Metrics
from tests.predictor.bundles import altered, bend_weights


def _ship_int8(directory: Path) -> None:
    shutil.copy(directory / "model.onnx", directory / "model.int8.onnx")


def _destroy(directory: Path) -> None:
    (directory / "model.onnx").write_bytes(b"x")


@pytest.fixture(scope="module")
def int8_bundle(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With a second artefact, which happens to hold the same graph."""
    path = tmp_path_factory.mktemp("bundles") / "int8"
    return altered(bundle, path, _ship_int8)


@pytest.fixture(scope="module")
def bent_bundle(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Its ONNX file was replaced by another one with its own, correct checksum."""
    path = tmp_path_factory.mktemp("bundles") / "bent"
    return altered(bundle, path, lambda directory: bend_weights(directory / "model.onnx"))


class PacedEngine:
    """Right answers at a set pace, on a clock that the test owns."""

    device = "cpu"

    def __init__(self, kind: "PacedKind", precision: Precision, inner: Engine) -> None:
        self.name = kind.name
        self.precision = precision
        self._kind = kind
        self._inner = inner
        self.sizes: list[int] = []

    def run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
        self.sizes.append(len(images))
        fixed, per_image = self._kind.pace
        self._kind.clock.now += fixed + per_image * len(images)
        return self._inner.run(images, want_cam=want_cam)

    def close(self) -> None:
        self._kind.closed.append(self.precision)


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class PacedKind:
    artefacts: Mapping[Precision, str] = {"fp32": "model.onnx"}

    def __init__(self, name: str, clock: Clock, fixed: float, per_image: float) -> None:
        self.name = name
        self.clock = clock
        self.pace = (fixed, per_image)
        self.closed: list[Precision] = []

    def unavailable(self) -> str | None:
        return None

    def open(self, file: Path, precision: Precision, threads: int) -> Engine:
        return PacedEngine(self, precision, ENGINES["onnxruntime"].open(file, precision, threads))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_the_fastest_is_chosen_warmed_up_and_the_others_closed(
    bundle: Bundle, clock: Clock, metrics: Metrics, registry: CollectorRegistry
) -> None:
    kinds = {
        # Alone slow is quicker, in a batch of four fast: which counts for more.
        "slow": PacedKind("slow", clock, fixed=0.0, per_image=0.020),
        "fast": PacedKind("fast", clock, fixed=0.020, per_image=0.005),
    }
    chosen = choose(bundle, kinds, max_batch_size=4, metrics=metrics)
    assert chosen.engine.name == "fast"
    assert kinds["slow"].closed == ["fp32"]
    assert kinds["fast"].closed == []
    assert isinstance(chosen.engine, PacedEngine)
    assert chosen.engine.sizes[-4:] == [1, 2, 3, 4]
    name = "sightline_engine_images_per_second"
    fast = {"engine": "fast", "precision": "fp32"}
    assert sample(registry, name, **fast, batch="4") == pytest.approx(100.0)
    assert sample(registry, name, **fast, batch="1") == pytest.approx(40.0)
    assert sample(registry, name, engine="slow", precision="fp32", batch="4") == pytest.approx(50.0)
    assert sample(registry, "sightline_selftest_passed", **fast) == 1.0


def test_the_score_is_the_rate_of_a_load_of_mostly_full_batches(bundle: Bundle) -> None:
    engine = ENGINES["onnxruntime"].open(bundle.path / "model.onnx", "fp32", 1)
    candidate = Candidate(engine, SelfTest(0.0, 0.0, 0, None), {1: [9.0, 0.1, 0.1], 8: [0.4]})
    assert candidate.images_per_second(1) == pytest.approx(10.0)
    assert candidate.images_per_second(8) == pytest.approx(20.0)
    assert candidate.score(8) == pytest.approx(1.0 / (0.7 * 0.05 + 0.3 * 0.1))


def test_an_artefact_with_other_answers_is_dropped_and_another_serves(
    bent_bundle: Bundle, metrics: Metrics, registry: CollectorRegistry
) -> None:
    bent_bundle.verify()
    chosen = choose(bent_bundle, ENGINES, max_batch_size=2, metrics=metrics)
    assert chosen.engine.name == "torchscript"
    onnx = {"engine": "onnxruntime", "precision": "fp32"}
    assert sample(registry, "sightline_selftest_passed", **onnx) == 0.0
    difference = sample(registry, "sightline_selftest_difference", **onnx, output="probabilities")
    assert difference is not None
    assert difference > 1e-3


def test_an_engine_asked_for_by_name_must_be_eligible(bent_bundle: Bundle) -> None:
    with pytest.raises(StartError, match=r"engine onnxruntime.*self-test: probabilities differ by"):
        choose(bent_bundle, ENGINES, engine="onnxruntime", precision="fp32")


def test_an_artefact_that_was_not_shipped_cannot_be_asked_for(bundle: Bundle) -> None:
    with pytest.raises(StartError, match="ships no int8 artefact: the gate was not tried"):
        choose(bundle, ENGINES, precision="int8")


def test_a_precision_that_the_engine_cannot_read_is_named_with_those_that_can(
    int8_bundle: Bundle,
) -> None:
    with pytest.raises(StartError, match="int8 is read by onnxruntime"):
        choose(int8_bundle, ENGINES, engine="torchscript", precision="int8")


def test_a_shipped_artefact_can_be_asked_for(int8_bundle: Bundle) -> None:
    assert choose(int8_bundle, ENGINES, precision="int8").engine.precision == "int8"


class AbsentKind(PacedKind):
    def unavailable(self) -> str | None:
        return "torch cannot be imported"


def test_a_missing_runtime_matters_only_when_it_is_asked_for(bundle: Bundle, clock: Clock) -> None:
    kinds: dict[str, EngineKind] = {
        "absent": AbsentKind("absent", clock, 0.0, 0.001),
        "present": PacedKind("present", clock, 0.0, 0.001),
    }
    assert choose(bundle, kinds).engine.name == "present"
    with pytest.raises(StartError, match="absent/fp32: torch cannot be imported"):
        choose(bundle, kinds, engine="absent")


def test_a_file_that_does_not_load_is_named(bundle: Bundle, tmp_path: Path) -> None:
    broken = altered(bundle, tmp_path / "broken", _destroy)
    with pytest.raises(StartError, match=r"onnxruntime/fp32: model\.onnx does not load"):
        choose(broken, ENGINES, engine="onnxruntime", precision="fp32")


def test_answers_of_both_artefacts_are_the_reference_s(int8_bundle: Bundle) -> None:
    reference = int8_bundle.reference()
    for precision in ("fp32", "int8"):
        engine = choose(int8_bundle, ENGINES, engine="onnxruntime", precision=precision).engine
        output = engine.run(reference.image, want_cam=False)
        assert np.allclose(output.probabilities, reference.probabilities, atol=1e-5)
