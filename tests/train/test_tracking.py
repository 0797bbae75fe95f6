"""What every tracker does, asked of all of them: those that are there, and one made here."""

import io
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from train.config import TrackingConfig, TrainConfig
from train.console import Console
from train.errors import TrackingError, TrainingError
from train.run import Run
from train.tracking import TRACKERS, Tracker, ending, make_tracker, recorded
from train.training import run_fit

from .conftest import shapes_tree
from .seen import Seen, in_mlflow, in_wandb
from .toy_tracker import ToyStore, in_toys

Look = Callable[[str], Seen]
TOY = "toy"


@pytest.fixture(autouse=True)
def _a_tracker_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # All that has to be done besides writing the file.
    monkeypatch.setitem(TRACKERS, TOY, ToyStore)
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["mlflow", "wandb", TOY, "none"])
def config(request: pytest.FixtureRequest, tmp_path: Path, empty_store: Path) -> TrackingConfig:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    uri = {"mlflow": f"sqlite:///{tmp_path / 'mlflow.db'}", TOY: str(tmp_path / "toys")}
    return TrackingConfig(tracker=request.param, uri=uri.get(request.param))


def look(config: TrackingConfig, directory: Path) -> Look:
    """A function that reads a run back from where the tracker has it."""
    scratch = directory / "read"
    scratch.mkdir(exist_ok=True)
    readers: dict[str, Look] = {
        "mlflow": lambda run_id: in_mlflow(config.uri or "", run_id, scratch),
        "wandb": lambda run_id: in_wandb(directory, run_id),
        TOY: lambda run_id: in_toys(Path(config.uri or ""), run_id),
    }
    return readers[config.tracker]


def tracker_of(config: TrackingConfig, directory: Path, said: io.StringIO | None = None) -> Tracker:
    return make_tracker(config, directory, Console(said or io.StringIO()))


def services() -> list[str]:
    children = psutil.Process().children(recursive=True)
    return [child.name() for child in children if "wandb" in child.name()]


def test_every_tracker_is_asked() -> None:
    assert {"mlflow", "wandb", "none", TOY} == set(TRACKERS)


def test_a_run_over_two_steps_with_another_in_it(config: TrackingConfig, tmp_path: Path) -> None:
    said = io.StringIO()
    result, folder = tmp_path / "result.json", tmp_path / "plots"
    (folder / "roc").mkdir(parents=True)
    (folder / "roc" / "a.svg").write_text("<svg/>")
    params = {"lr": "0.1"} | {f"p{number}": "x" * 7000 for number in range(150)}
    inner, later = tracker_of(config, tmp_path, said), tracker_of(config, tmp_path, said)

    def first(parent: str) -> None:
        with ending(inner):
            inner.begin("trial", params, {"step": "fit"}, parent)
            for step in range(1, 4):
                inner.log_metrics({"loss": 1 / step, "f1": step / 4}, step)
            inner.log_metrics({"odd": math.nan}, 3)
            result.write_text("1")
            inner.log_files(result)
            # What is there when it is logged counts, not what is there when it is sent.
            result.unlink()
            result.write_text("2")
            inner.log_files(folder, "report")
            raise TrainingError("the loss is nan")

    before_ms = int(time.time() * 1000)
    with recorded(config, tmp_path, Console(said), "search", {"space": "2"}, {}) as outer:
        with pytest.raises(TrainingError):
            first(outer.run_id)
        run_id = inner.run_id
        with ending(later):
            later.resume(run_id)
            later.log_metrics({"test_f1": 0.5})
            later.set_tags({"error": "mended"})
    assert inner.run_id == later.run_id != outer.run_id or config.tracker == "none"
    assert said.getvalue() == ""
    if config.tracker == "none":
        assert not (tmp_path / "tracking").exists()
        return
    seen, outside = look(config, tmp_path)(run_id), look(config, tmp_path)(outer.run_id)
    assert outside.parent is None
    assert (seen.parent, seen.status, outside.status) == (outer.run_id, "FINISHED", "FINISHED")
    assert seen.params.keys() >= params.keys()
    assert (seen.params["lr"], outside.params["space"]) == ("0.1", "2")
    assert seen.tags["error"] == "mended"
    expected = {("loss", step): [1 / step] for step in (1, 2, 3)}
    expected |= {("f1", step): [step / 4] for step in (1, 2, 3)}
    expected |= {("test_f1", 0): [0.5]}
    (odd,) = seen.metrics.pop(("odd", 3))
    assert math.isnan(odd)
    assert seen.metrics == expected
    assert all(before_ms <= when <= time.time() * 1000 for when in seen.times_ms.values())
    assert (seen.files["result.json"], seen.files["report/roc/a.svg"]) == (b"1", b"<svg/>")
    assert services() == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(TrainingError("the loss is nan"), "FAILED"), (KeyboardInterrupt(), "KILLED"),
     (SystemExit(143), "KILLED")],
)  # fmt: skip
def test_a_run_ends_as_its_step_does(
    config: TrackingConfig, tmp_path: Path, error: BaseException, status: str
) -> None:
    tracker = tracker_of(config, tmp_path)

    def step() -> None:
        with ending(tracker):
            tracker.begin("run", {}, {})
            raise error

    with pytest.raises(type(error)):
        step()
    if config.tracker != "none":
        assert look(config, tmp_path)(tracker.run_id).status == status


def test_a_toy_tracker_trains(shapes: Path, tmp_path: Path) -> None:
    tree = shapes_tree(shapes, tmp_path / "run")
    tree["tracking"] = {"tracker": TOY, "uri": str(tmp_path / "toys")}
    tree["loop"]["epochs"] = 2
    run = Run(TrainConfig.model_validate(tree), Console(io.StringIO()))
    training = run_fit(run)
    seen = in_toys(
        tmp_path / "toys", json.loads((run.path / "tracking.json").read_text())["run_id"]
    )
    assert seen.status == "FINISHED"
    assert [seen.metrics["val_loss", epoch.epoch] for epoch in training.history] == [
        [epoch.val_loss] for epoch in training.history
    ]
    # What the run depends on is with it.
    for name in ("config.json", "split.csv", "data.csv", "training.json"):
        assert seen.files[name] == (run.path / name).read_bytes()
    assert seen.params["seed"] == "1"


def test_an_unknown_tracker_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="accepted: mlflow, none, wandb"):
        TrackingConfig(tracker="mlfow")


def test_wandb_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    from train.tracking.wandb import wandb_mode

    monkeypatch.setenv("NETRC", "/nonexistent")
    assert wandb_mode() == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(TrackingError, match="WANDB_API_KEY"):
        wandb_mode()
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(TrackingError, match="'sometimes'; accepted: online, offline"):
        wandb_mode()
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert wandb_mode() == "online"
