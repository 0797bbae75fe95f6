import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from model.bundle import Bundle
from predictor.engine import ENGINES
from predictor.engine import race as race_module
from predictor.engine.base import Device, EngineKind
from predictor.engine.choice import choose
from predictor.engine.record import Row
from predictor.engine.survey import Option, Wanted, survey
from predictor.errors import StartError
from predictor.metrics import Metrics
from tests.predictor.bundles import altered, bend_weights
from tests.predictor.paced import Clock, PacedEngine, PacedKind


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(race_module, "time", clock)
    return clock


@pytest.fixture
def kinds(clock: Clock) -> dict[str, PacedKind]:
    return {
        # Alone slow is quicker, in a batch of four fast: which counts for more.
        "slow": PacedKind("slow", clock, fixed=0.0, per_image=0.020),
        "fast": PacedKind("fast", clock, fixed=0.020, per_image=0.005),
    }


class Surveyor:
    """The survey in this process, where the test's own engines are; counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, offered: Sequence[Option], bundle: Bundle, wanted: Wanted) -> list[Row]:
        self.calls += 1
        return survey(offered, bundle, wanted)


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_the_fastest_is_chosen_and_warmed_up(
    bundle: Bundle, kinds: dict[str, PacedKind], metrics: Metrics, registry: CollectorRegistry
) -> None:
    chosen = choose(bundle, kinds, Wanted(max_batch_size=4), metrics, Surveyor())
    assert chosen.engine.name == "fast"
    assert not kinds["slow"].loaded
    assert kinds["fast"].loaded == [chosen.engine]
    assert isinstance(chosen.engine, PacedEngine)
    assert chosen.engine.sizes[-4:] == [4, 3, 2, 1]
    name = "sightline_engine_images_per_second"
    fast = {"engine": "fast", "precision": "fp32", "device": "cpu"}
    assert sample(registry, name, **fast, batch="4") == pytest.approx(100.0)
    assert sample(registry, name, **fast, batch="1") == pytest.approx(40.0)
    assert sample(registry, name, **fast | {"engine": "slow"}, batch="4") == pytest.approx(50.0)
    assert sample(registry, "sightline_selftest_passed", **fast) == 1.0
    assert chosen.images_per_second(4) == pytest.approx(100.0)


def test_the_table_is_one_line_of_the_log(
    bundle: Bundle, kinds: dict[str, PacedKind], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sightline.engine")
    choose(bundle, kinds, Wanted(max_batch_size=4, load="latency"), survey=Surveyor())
    (line,) = (record for record in caplog.records if record.message == "engine chosen")
    data = json.loads(json.dumps(line.__dict__["data"]))
    assert (data["engine"], data["expected_load"], data["remembered"]) == ("slow", "latency", False)
    assert [row["milliseconds"] for row in data["candidates"]] == [
        {"1": 20.0, "4": 80.0},
        {"1": 25.0, "4": 40.0},
    ]


def test_the_next_start_remembers_and_tests_again(
    bundle: Bundle,
    kinds: dict[str, PacedKind],
    tmp_path: Path,
    metrics: Metrics,
    registry: CollectorRegistry,
) -> None:
    wanted, surveyor = Wanted(max_batch_size=4, cache=tmp_path), Surveyor()
    choose(bundle, kinds, wanted, survey=surveyor)
    opened = kinds["slow"].opened
    again = choose(bundle, kinds, wanted, metrics, surveyor)
    assert surveyor.calls == 1
    assert kinds["slow"].opened == opened
    assert again.engine.name == "fast"
    assert again.images_per_second(4) == pytest.approx(100.0)
    assert isinstance(again.engine, PacedEngine)
    # The self-test and the warm-up, and nothing else.
    assert again.engine.sizes == [4, 2, 1, 4, 3, 2, 1]
    labels = {"engine": "fast", "precision": "fp32", "device": "cpu"}
    assert sample(registry, "sightline_selftest_passed", **labels) == 1.0


@pytest.mark.parametrize(
    "change", [{"max_batch_size": 2}, {"threads": 3}, {"load": "latency"}, {"precision": "fp32"}]
)
def test_other_settings_are_another_choice(
    bundle: Bundle, kinds: dict[str, PacedKind], tmp_path: Path, change: dict[str, object]
) -> None:
    surveyor = Surveyor()
    wanted = Wanted(max_batch_size=4, cache=tmp_path)
    choose(bundle, kinds, wanted, survey=surveyor)
    choose(bundle, kinds, wanted.model_copy(update=change), survey=surveyor)
    assert surveyor.calls == 2


def test_a_remembered_engine_that_has_gone_wrong_is_not_served(
    bundle: Bundle, kinds: dict[str, PacedKind], tmp_path: Path
) -> None:
    surveyor = Surveyor()
    wanted = Wanted(max_batch_size=4, cache=tmp_path)
    choose(bundle, kinds, wanted, survey=surveyor)

    def fail(file: Path, *rest: object) -> None:
        raise RuntimeError("illegal instruction")

    kinds["fast"].open = fail  # type: ignore[method-assign, assignment]
    assert choose(bundle, kinds, wanted, survey=surveyor).engine.name == "slow"
    assert surveyor.calls == 2


def test_a_damaged_record_is_ignored_and_written_anew(
    bundle: Bundle, kinds: dict[str, PacedKind], tmp_path: Path
) -> None:
    surveyor = Surveyor()
    wanted = Wanted(max_batch_size=4, cache=tmp_path)
    choose(bundle, kinds, wanted, survey=surveyor)
    (file,) = tmp_path.iterdir()
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    assert choose(bundle, kinds, wanted, survey=surveyor).engine.name == "fast"
    assert surveyor.calls == 2
    assert json.loads(file.read_text())["key"] == json.loads(whole)["key"]


def test_the_only_option_is_timed_where_it_will_serve(
    bundle: Bundle, kinds: dict[str, PacedKind]
) -> None:
    surveyor = Surveyor()
    chosen = choose(bundle, kinds, Wanted(engine="slow", max_batch_size=4), survey=surveyor)
    assert chosen.images_per_second(4) == pytest.approx(50.0)
    assert (surveyor.calls, kinds["slow"].opened) == (0, 1)


def test_an_artefact_with_other_answers_is_dropped_and_another_serves(
    bent_bundle: Bundle, metrics: Metrics, registry: CollectorRegistry
) -> None:
    bent_bundle.verify()
    chosen = choose(bent_bundle, ENGINES, Wanted(max_batch_size=2), metrics)
    assert chosen.engine.name == "torchscript"
    onnx = {"engine": "onnxruntime", "precision": "fp32", "device": "cpu"}
    assert sample(registry, "sightline_selftest_passed", **onnx) == 0.0
    difference = sample(registry, "sightline_selftest_difference", **onnx, output="probabilities")
    assert difference is not None
    assert difference > 1e-3


def test_an_engine_asked_for_by_name_must_be_eligible(bent_bundle: Bundle) -> None:
    with pytest.raises(StartError, match=r"engine onnxruntime.*self-test: probabilities differ by"):
        choose(bent_bundle, ENGINES, Wanted(engine="onnxruntime", precision="fp32"))


def test_an_artefact_that_was_not_shipped_cannot_be_asked_for(bundle: Bundle) -> None:
    with pytest.raises(StartError, match="ships no int8 artefact: the gate was not tried"):
        choose(bundle, ENGINES, Wanted(precision="int8"))


@pytest.mark.parametrize(
    ("wanted", "readers"),
    [
        (Wanted(engine="torchscript", precision="int8"), "onnxruntime, openvino"),
        (Wanted(engine="openvino", device="cuda"), "onnxruntime, torchscript, tensorrt"),
    ],
)
def test_what_no_engine_offers_is_named_with_those_that_do(
    int8_bundle: Bundle, wanted: Wanted, readers: str
) -> None:
    with pytest.raises(StartError, match=f"is offered by {readers}$"):
        choose(int8_bundle, ENGINES, wanted)


def test_a_device_that_is_not_there_is_said(bundle: Bundle) -> None:
    with pytest.raises(StartError, match="onnxruntime/fp32 on cuda: there is no GPU"):
        choose(bundle, ENGINES, Wanted(device="cuda"))


class AbsentKind(PacedKind):
    def unavailable(self, device: Device) -> str | None:
        return "torch is not installed"


def test_a_missing_runtime_matters_only_when_it_is_asked_for(bundle: Bundle, clock: Clock) -> None:
    kinds: dict[str, EngineKind] = {
        "absent": AbsentKind("absent", clock, 0.0, 0.001),
        "present": PacedKind("present", clock, 0.0, 0.001),
    }
    assert choose(bundle, kinds, Wanted()).engine.name == "present"
    with pytest.raises(StartError, match="absent/fp32 on cpu: torch is not installed"):
        choose(bundle, kinds, Wanted(engine="absent"))


def test_a_file_that_does_not_load_is_named(bundle: Bundle, tmp_path: Path) -> None:
    broken = altered(bundle, tmp_path / "broken", _destroy)
    with pytest.raises(StartError, match=r"onnxruntime/fp32 on cpu: model\.onnx does not load"):
        choose(broken, ENGINES, Wanted(engine="onnxruntime", precision="fp32"))


def test_answers_of_both_artefacts_are_the_reference_s(int8_bundle: Bundle) -> None:
    reference = int8_bundle.reference()
    for precision in ("fp32", "int8"):
        wanted = Wanted(engine="onnxruntime", precision=precision)
        engine = choose(int8_bundle, ENGINES, wanted).engine
        assert engine.precision == precision
        output = engine.run(reference.image, want_cam=False)
        assert np.allclose(output.probabilities, reference.probabilities, atol=1e-5)
