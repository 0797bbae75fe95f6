"""A real MLflow server that is killed, sick or unheard, while the trainer records in it."""

import io
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from train.__main__ import main
from train.config import TrackingConfig, TrainConfig
from train.console import Console
from train.errors import TrackingError
from train.run import Run
from train.tracking import make_tracker, recorded
from train.tracking.journal import Begin, Journal, journals
from train.tracking.registry import JOURNALS
from train.tracking.replay import find_journals
from train.training import Training, run_fit

from .conftest import shapes_tree
from .mlflow_servers import Road, Server, Weather, road_to, serving
from .seen import Seen, in_mlflow

EPOCHS = 6


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("mlflow")
    shutil.copyfile(empty_store, home / "server.db")
    with serving(home) as server:
        yield server


@pytest.fixture
def road(server: Server) -> Iterator[Road]:
    with road_to(server) as road:
        yield road


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    # As a user would set it; 30 s is what it is otherwise.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setattr("train.tracking.sender.LINGER_S", 0.05)
    monkeypatch.setattr("train.tracking.sender.FIRST_RETRY_S", 0.1)


class Told(Console):
    """Keeps what is said, and acts at the end of given epochs."""

    def __init__(self, acts: dict[int, Callable[[], object]] | None = None) -> None:
        self.text = io.StringIO()
        super().__init__(self.text)
        self._acts = acts or {}

    def say(self, text: str = "") -> None:
        super().say(text)
        for epoch in [each for each in self._acts if text.startswith(f"epoch {each:3d}")]:
            self._acts.pop(epoch)()


def tree_of(shapes: Path, tmp_path: Path, uri: str) -> dict[str, Any]:
    tree = shapes_tree(shapes, tmp_path / "run")
    tree["loop"] |= {"epochs": EPOCHS, "checkpoint_minutes": 0.0}
    tree["tracking"] = {"uri": uri}
    return tree


def run_of(shapes: Path, tmp_path: Path, uri: str, console: Console) -> Run:
    return Run(TrainConfig.model_validate(tree_of(shapes, tmp_path, uri)), console)


def recorded_of(run_path: Path, server: Server, tmp_path: Path) -> Seen:
    run_id = json.loads((run_path / "tracking.json").read_text())["run_id"]
    (tmp_path / "read").mkdir(exist_ok=True)
    return in_mlflow(server.uri, run_id, tmp_path / "read")


def assert_whole(seen: Seen, run_path: Path) -> None:
    """All that the training told is there, and once."""
    training = Training.model_validate_json((run_path / "training.json").read_text())
    assert len(training.history) == EPOCHS
    for name in ("train_loss", "val_loss", "val_macro_f1", "learning_rate"):
        for epoch in training.history:
            assert seen.metrics[name, epoch.epoch] == [getattr(epoch, name)]
    assert all(len(values) == 1 for values in seen.metrics.values())
    times = [seen.times_ms["val_loss", epoch.epoch] for epoch in training.history]
    assert times == sorted(set(times))
    assert seen.status == "FINISHED"
    assert seen.params["loop.epochs"] == str(EPOCHS)
    for name in ("config.json", "split.csv", "data.csv", "training.json"):
        assert seen.files[name] == (run_path / name).read_bytes()
    (journal,) = journals(run_path / "tracking")
    assert journal.complete
    assert not list((journal.path / "files").iterdir())


def test_a_server_is_killed_in_the_middle_of_a_training_and_started_again(
    shapes: Path, server: Server, tmp_path: Path
) -> None:
    console = Told({2: server.kill, 4: server.start})
    run = run_of(shapes, tmp_path, server.uri, console)
    run_fit(run)
    assert_whole(recorded_of(run.path, server, tmp_path), run.path)
    said = console.text.getvalue()
    assert said.count("cannot be reached") == 1
    assert said.count("is back") == 1
    assert "wait in" not in said


@pytest.mark.parametrize("weather", ["fails", "hangs", "loses"])
def test_a_sick_server_costs_nothing_but_time(
    shapes: Path, server: Server, road: Road, tmp_path: Path, weather: Weather
) -> None:
    def change(to: Weather) -> Callable[[], None]:
        return lambda: setattr(road, "weather", to)

    # It is well again when the training has ended, before its last words are sent.
    console = Told({2: change(weather), EPOCHS: change("fair")})
    run = run_of(shapes, tmp_path, road.uri, console)
    run_fit(run)
    left = journals(run.path / "tracking")[0]
    if not left.complete:
        assert main(["track", "replay", "--run", str(run.path)]) == 0
    assert_whole(recorded_of(run.path, server, tmp_path), run.path)


@pytest.mark.parametrize("weather", ["fails", "loses"])
@pytest.mark.parametrize("way", ["evaluate", "replay"])
def test_a_server_that_is_away_all_the_time_is_told_later(
    shapes: Path, server: Server, road: Road, tmp_path: Path, weather: Weather, way: str
) -> None:
    road.weather = weather
    console = Told()
    run = run_of(shapes, tmp_path, road.uri, console)
    run_fit(run)
    said = console.text.getvalue()
    assert said.count("The work goes on") == 1
    assert said.count("records of this run wait in") == 1
    assert f"python -m train track replay --run {run.path}" in said
    road.weather = "fair"
    if way == "evaluate":
        assert main(["evaluate", "--run", str(run.path)]) == 0
    else:
        # The second has nothing to do, and does nothing.
        assert main(["track", "replay", "--run", str(run.path)]) == 0
        assert main(["track", "replay", "--run", str(run.path)]) == 0
    seen = recorded_of(run.path, server, tmp_path)
    assert_whole(seen, run.path)
    assert (("test_macro_f1", 0) in seen.metrics) == (way == "evaluate")


def test_a_killed_training_that_nobody_heard_of_is_recorded_when_it_goes_on(
    shapes: Path, server: Server, road: Road, tmp_path: Path,
    fit_and_die: Callable[[Path, str], int], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    road.weather = "fails"
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tree_of(shapes, tmp_path, road.uri)))
    assert fit_and_die(config, "step 40") == -9
    # Killed again, in the middle of telling it: what was sent last may or may not have arrived.
    road.weather = "loses"
    assert fit_and_die(config, "step 20") == -9
    road.weather = "fair"
    assert main(["fit", "--config", str(config)]) == 0
    assert "going on where" in capsys.readouterr().err
    seen = recorded_of(tmp_path / "run", server, tmp_path)
    # A training that is killed within an epoch tells of it when it has done it again.
    assert_whole(seen, tmp_path / "run")


def test_a_run_whose_process_died_is_ended_by_a_replay(
    shapes: Path, server: Server, road: Road, tmp_path: Path,
    fit_and_die: Callable[[Path, str], int],
) -> None:  # fmt: skip
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tree_of(shapes, tmp_path, road.uri)))
    assert fit_and_die(config, "step 20") == -9
    assert main(["track", "replay", "--run", str(tmp_path / "run")]) == 0
    seen = recorded_of(tmp_path / "run", server, tmp_path)
    assert seen.status == "KILLED"
    assert seen.metrics["val_loss", 1]


def test_nested_runs_are_nested_also_when_they_are_told_later(
    server: Server, road: Road, tmp_path: Path
) -> None:
    road.weather = "fails"
    config, console = TrackingConfig(uri=road.uri), Told()
    with recorded(config, tmp_path, console, "search", {}, {}) as outer:
        for trial in range(2):
            inside = recorded(
                config, tmp_path / f"trial-{trial}", console, "trial", {}, {}, outer.run_id
            )
            with inside as inner:
                inner.log_metrics({"f1": trial})
    road.weather = "fair"
    # Found below the folder of the search, and told in the order in which they began.
    assert main(["track", "replay", "--run", str(tmp_path)]) == 0
    (tmp_path / "read").mkdir()
    for trial in range(2):
        (journal,) = journals(tmp_path / f"trial-{trial}" / "tracking")
        seen = in_mlflow(server.uri, journal.run_id, tmp_path / "read")
        assert (seen.parent, seen.status) == (outer.run_id, "FINISHED")
        assert seen.metrics["f1", 0] == [trial]


def test_outer_runs_are_told_first_even_when_all_began_at_once(tmp_path: Path) -> None:
    outer: str | None = None
    made: list[str] = []
    for depth in range(6):
        # Deepest first in the folder's order, and by a clock that was set back too.
        journal = Journal.create(tmp_path / str(9 - depth) / JOURNALS, "{}")
        began_ms = 7 if depth % 2 else 8
        journal.add(Begin(name="run", params={}, tags={}, parent=outer, time_ms=began_ms))
        journal.close()
        outer = journal.run_id
        made.append(outer)
    assert [each.run_id for each in find_journals(tmp_path)] == made


def test_an_outage_draws_nothing_from_the_generators_of_training(
    server: Server, road: Road, tmp_path: Path
) -> None:
    random.seed(3)
    before = random.getstate()
    with recorded(TrackingConfig(uri=road.uri), tmp_path, Told(), "run", {}, {}) as tracker:
        for weather in ("fails", "hangs", "loses", "fair"):
            road.weather = weather
            tracker.log_metrics({"loss": 1.0})
            asked = road.requests
            while road.requests == asked:
                time.sleep(0.01)
    assert random.getstate() == before


def test_a_release_needs_the_registry_and_says_so(
    exported: Run, road: Road, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    road.weather = "fails"
    models = MlflowClient(server.uri).search_registered_models()
    assert main(["release", "--run", str(exported.path), f"tracking.uri={road.uri}"]) == 75
    said = capsys.readouterr().err
    assert f"MLflow at {road.uri} cannot be reached" in said
    assert "A release needs the model registry; nothing was registered, and alias champion" in said
    assert MlflowClient(server.uri).search_registered_models() == models


def test_what_is_no_mlflow_server_is_an_error_before_anything_is_computed(
    shapes: Path, road: Road, tmp_path: Path
) -> None:
    run = run_of(shapes, tmp_path, f"{road.uri}/elsewhere", Told())
    with pytest.raises(TrackingError, match="elsewhere cannot be used"):
        run_fit(run)
    assert not run.path.exists()


def test_what_a_server_refuses_is_left_out_and_told(server: Server, tmp_path: Path) -> None:
    console = Told()
    tracker = make_tracker(TrackingConfig(uri=server.uri), tmp_path, console)
    tracker.begin("run", {}, {})
    for step in range(3):
        tracker.log_metrics({"good": step}, step)
        tracker.log_metrics({"bad {} name": step}, step)
    tracker.end("FINISHED")
    (tmp_path / "read").mkdir()
    seen = in_mlflow(server.uri, tracker.run_id, tmp_path / "read")
    assert seen.metrics == {("good", step): [step] for step in range(3)}
    assert seen.status == "FINISHED"
    assert "has refused 3 records" in console.text.getvalue()


def test_a_password_in_the_address_is_not_told(tmp_path: Path) -> None:
    console = Told()
    tracker = make_tracker(TrackingConfig(uri="http://me:hush@127.0.0.1:9"), tmp_path, console)
    tracker.begin("run", {}, {})
    tracker.end("FINISHED")
    said = console.text.getvalue()
    assert "MLflow at http://127.0.0.1:9 cannot be reached" in said
    assert "hush" not in said
