import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from model.bundle import Bundle
from model.errors import BundleError, SightlineError
from train.__main__ import EXIT_REFUSED, main
from train.bundling import run_export
from train.config import override_later
from train.console import Console
from train.errors import ConfigError, RunError, TrackingError, TrainingError
from train.evaluation import run_evaluate
from train.gate import (
    Verdict,
    decide_against_champion,
    decide_without_champion,
    judge,
    refuse_other_classes,
    score,
)
from train.release import run_release
from train.run import Run
from train.training import run_fit

from .seen import in_mlflow


@pytest.fixture
def run(exported: Run, tmp_path: Path) -> Run:
    """A copy of the exported run with a registry of its own."""
    shutil.copytree(exported.path.parent, tmp_path / "copy")
    store = f"tracking.uri=sqlite:///{tmp_path / 'copy' / 'mlflow.db'}"
    return Run.open(tmp_path / "copy" / "run", [store], Console(io.StringIO()))


def client(run: Run) -> MlflowClient:
    return MlflowClient(run.config.tracking.uri)


def champion(run: Run) -> str:
    return str(client(run).get_model_version_by_alias(run.config.name, "champion").version)


def with_overrides(run: Run, *overrides: str) -> Run:
    return Run(override_later(run.config, overrides, {}), run.console)


def test_the_first_model_needs_a_fixed_f1() -> None:
    assert decide_without_champion(0.85, 0.85).promoted
    verdict = decide_without_champion(0.8499, 0.85)
    assert not verdict.promoted
    assert "less than the 0.85" in verdict.reason


def test_a_later_model_must_not_be_worse() -> None:
    assert decide_against_champion(0.90, 0.90, "3").promoted
    verdict = decide_against_champion(0.8999, 0.90, "3")
    assert not verdict.promoted
    assert verdict.reason.endswith("0.9000 of champion version 3 on the same test split")


def test_a_champion_of_another_split_may_know_the_test_images() -> None:
    verdict = decide_against_champion(0.90, 0.90, "3", same_split=False)
    assert "on the same test split, of which the champion may have seen some" in verdict.reason


def test_a_retrained_model_with_another_split_is_told_so(run: Run, tmp_path: Path) -> None:
    run_release(run)
    again = run.config.model_copy(update={"seed": 5, "output": tmp_path / "again"})
    again = again.model_copy(update={"loop": again.loop.model_copy(update={"epochs": 1})})
    other = Run(again, run.console)
    run_fit(other)
    run_evaluate(other)
    run_export(other)
    assert "the champion may have seen some" in run_release(Run(again, run.console)).reason


def test_other_classes_cannot_be_compared() -> None:
    verdict = refuse_other_classes(0.99, ["a", "b"], ["a", "c"], "3")
    assert not verdict.promoted
    assert "a, c" in verdict.reason


def test_the_first_release_registers_and_moves_the_alias(run: Run) -> None:
    release = run_release(run)
    assert (release.promoted, release.version) == (True, "1")
    assert champion(run) == "1"
    version = client(run).get_model_version(run.config.name, "1")
    assert version.tags["gate.verdict"] == "promoted"
    assert version.tags["bundle_sha256"] == Bundle.open(run.bundle_path).digest


def test_the_registered_artefact_is_the_bundle(run: Run, tmp_path: Path) -> None:
    # As a server leaves it that ran on the bundle before it was released.
    (run.bundle_path / ".cache").mkdir()
    (run.bundle_path / ".cache" / "engine-0.json").write_text("{}")
    run_release(run)
    version = client(run).get_model_version(run.config.name, "1")
    assert version.run_id is not None
    assert version.source is not None
    fetched = client(run).download_artifacts(
        version.run_id, version.source.rsplit("/", 1)[1], str(tmp_path)
    )
    bundle = Bundle.open(Path(fetched))
    bundle.verify()
    files = {file.relative_to(fetched).as_posix() for file in Path(fetched).rglob("*.*")}
    assert files == {*bundle.manifest.files, "manifest.json"}
    assert version.source.endswith(f"/bundle-{Bundle.open(run.bundle_path).digest[:16]}")


def test_a_later_export_does_not_change_a_released_version(run: Run, tmp_path: Path) -> None:
    digest = Bundle.open(run.bundle_path).digest
    run_release(run)
    run_export(with_overrides(run, "export.int8=false"))
    assert Bundle.open(run.bundle_path).digest != digest
    version = client(run).get_model_version(run.config.name, "1")
    assert version.run_id is not None
    assert version.source is not None
    name = version.source.rsplit("/", 1)[1]
    fetched = Bundle.open(Path(client(run).download_artifacts(version.run_id, name, str(tmp_path))))
    fetched.verify()
    assert fetched.digest == digest == version.tags["bundle_sha256"]


def test_an_equal_model_is_compared_and_promoted(run: Run) -> None:
    run_release(run)
    second = run_release(run)
    assert (second.promoted, second.version, second.champion_version) == (True, "2", "1")
    assert second.macro_f1 == second.champion_macro_f1
    assert champion(run) == "2"


def test_a_worse_model_is_refused_with_code_3_and_the_alias_stays(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run_release(run)

    def weaker(run: Run, data: object, bundle: Bundle) -> float:
        return first.macro_f1 - (0.001 if bundle.path == run.bundle_path else 0.0)

    # Only the score is replaced: training a second, reliably worse model takes too long here.
    monkeypatch.setattr("train.gate.score", weaker)
    store = f"tracking.uri={run.config.tracking.uri}"
    assert main(["release", "--run", str(run.path), store]) == EXIT_REFUSED
    assert champion(run) == "1"
    version = client(run).get_model_version(run.config.name, "2")
    assert version.tags["gate.verdict"] == "refused"
    assert "is lower than" in version.tags["gate.reason"]
    assert version.run_id is not None
    finished = client(run).get_run(version.run_id)
    assert finished.info.status == "FINISHED"
    assert finished.data.tags["gate.verdict"] == "refused"
    assert "stays with version 1" in capsys.readouterr().err


def test_a_release_beside_another_does_not_take_its_place(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_release(run)

    def slowly(*arguments: Any) -> Verdict:
        verdict = judge(*arguments)
        client(run).set_registered_model_alias(run.config.name, "champion", "2")
        return verdict

    run_release(run)
    client(run).set_registered_model_alias(run.config.name, "champion", "1")
    # Another release finishes while this one judges.
    monkeypatch.setattr("train.release.judge", slowly)
    with pytest.raises(SightlineError, match="moved from version 1 to 2 while version 3"):
        run_release(run)
    assert champion(run) == "2"


def test_the_threshold_of_the_first_model_is_configured(run: Run) -> None:
    release = run_release(with_overrides(run, "release.min_macro_f1=1.0"))
    assert release.promoted == (release.macro_f1 >= 1.0)
    assert "1.00 asked of a first model" in release.reason


def test_the_score_is_the_evaluations(run: Run) -> None:
    bundle = Bundle.open(run.bundle_path)
    assert score(run, run.data, bundle) == pytest.approx(bundle.manifest.metrics.macro_f1)


def test_a_damaged_bundle_is_not_registered(run: Run) -> None:
    file = run.bundle_path / "model.onnx"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        run_release(run)
    assert client(run).search_registered_models() == []


def test_without_a_registry_there_is_no_release(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.tracker is 'none'"):
        run_release(with_overrides(run, "tracking.tracker=none"))


def test_a_run_directory_without_training_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"config\.json is missing; `python -m train fit`"):
        Run.open(tmp_path, [], Console(io.StringIO()))


def test_every_step_is_recorded_in_one_finished_run(exported: Run) -> None:
    store = client(exported)
    experiment = store.get_experiment_by_name("sightline")
    assert experiment is not None
    (recorded,) = store.search_runs([experiment.experiment_id])
    assert recorded.info.status == "FINISHED"
    assert recorded.data.params["loop.epochs"] == "14"
    assert {"val_macro_f1", "test_macro_f1", "parity/onnx", "test_f1/disc"} <= set(
        recorded.data.metrics
    )
    files = {item.path for item in store.list_artifacts(recorded.info.run_id)}
    assert {"split.csv", "config.json", "training.json", "evaluation.json"} <= files


@pytest.mark.parametrize(
    ("error", "status"),
    [(TrainingError("the loss is nan"), "FAILED"), (OSError("gone"), "FAILED"),
     (KeyboardInterrupt(), "KILLED")],
)  # fmt: skip
def test_a_step_that_breaks_leaves_no_run_running(
    run: Run, error: BaseException, status: str, tmp_path: Path
) -> None:
    with pytest.raises(type(error)), run.tracked() as tracker:
        raise error
    seen = in_mlflow(str(run.config.tracking.uri), tracker.run_id, tmp_path)
    assert seen.status == status
    if isinstance(error, SightlineError):
        assert seen.tags["error"] == "the loss is nan"


def test_a_run_whose_beginning_fails_is_not_left_running(run: Run) -> None:
    (run.path / "tracking.json").unlink()
    (run.path / "tracking.json").mkdir()
    with pytest.raises(OSError, match=r"tracking\.json"), run.tracked({"params": {}, "tags": {}}):
        pass
    store = client(run)
    experiment = store.get_experiment_by_name("sightline")
    assert experiment is not None
    statuses = [each.info.status for each in store.search_runs([experiment.experiment_id])]
    assert sorted(statuses) == ["FAILED", "FINISHED"]


def test_a_database_that_is_none_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_text("this is no database, and was never one" * 100)
    broken = with_overrides(run, f"tracking.uri=sqlite:///{tmp_path / 'broken.db'}")
    with pytest.raises(TrackingError, match=r"broken\.db cannot be used"):
        run_release(broken)


def test_an_unusable_store_is_named(run: Run) -> None:
    unusable = with_overrides(run, "tracking.uri=sqlite:////proc/nowhere/mlflow.db")
    with pytest.raises(TrackingError, match=r"MLflow at sqlite:////proc/nowhere"):
        run_release(unusable)
