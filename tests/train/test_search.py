"""Real searches: their trials are processes, their study is a database, their tracker is MLflow."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from optuna.trial import FrozenTrial, TrialState

from train.config import TrainConfig, load_config
from train.console import Console
from train.errors import ConfigError, SearchError
from train.run import Run
from train.search.config import SearchConfig
from train.search.search import run_search
from train.search.study import open_study, quiet
from train.training import run_fit

from .conftest import shapes_tree

WORKER = "train.search.trial"
RATES = {"type": "float", "low": 0.001, "high": 0.01, "log": True}


def trees(shapes: Path, directory: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    config = shapes_tree(shapes, directory / "run")
    config["loop"] |= {"epochs": 2, "checkpoint_minutes": 0.0}
    search = {
        "name": "study",
        "output": str(directory / "study"),
        "trials": 3,
        "jobs": 1,
        "pruner": {"type": "none"},
        "space": {"loop.learning_rate": RATES},
    }
    return config, search | changes


def settings(shapes: Path, directory: Path, **changes: Any) -> tuple[TrainConfig, SearchConfig]:
    config, search = trees(shapes, directory, **changes)
    return TrainConfig.model_validate(config), SearchConfig.model_validate(search)


def trials(config: TrainConfig, search: SearchConfig) -> list[FrozenTrial]:
    with quiet():
        return open_study(search, config).trials


def states(config: TrainConfig, search: SearchConfig) -> list[str]:
    return [trial.state.name for trial in trials(config, search)]


def tracked(config: TrainConfig) -> list[MlflowRun]:
    store = MlflowClient(config.tracking.uri)
    experiment = store.get_experiment_by_name("sightline")
    assert experiment is not None
    return list(store.search_runs([experiment.experiment_id]))


def workers(parent: int | None = None) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(parent).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if WORKER in child.cmdline():
                found.append(child)
    return found


class Listener(io.StringIO):
    """A console that acts, once, when it is told of something."""

    def __init__(self, on: str, act: Callable[[], None]) -> None:
        super().__init__()
        self._on, self._act, self._left = on, act, 1

    def write(self, text: str) -> int:
        if self._on in text and self._left:
            self._left = 0
            self._act()
        return super().write(text)


def test_a_search_leaves_the_best_settings_and_can_be_gone_on_with(
    shapes: Path, tmp_path: Path
) -> None:
    space = {
        "loop.learning_rate": RATES,
        "loop.batch_size": {"type": "categorical", "choices": [4, 8]},
    }
    config, search = settings(shapes, tmp_path, space=space, jobs=2, objective="val_loss", trials=4)
    run_search(config, search, Console(io.StringIO()))
    done = trials(config, search)
    assert [trial.state for trial in done] == [TrialState.COMPLETE] * 4
    best = min(done, key=lambda trial: trial.value or 0.0)
    study = search.directory

    # What is told is what a training with these settings comes to.
    found = load_config(study / "best.yaml", (), {})
    assert found.loop.learning_rate == best.params["loop.learning_rate"]
    again = found.model_copy(update={"output": tmp_path / "again"})
    training = run_fit(Run(again, Console(io.StringIO())))
    figures = training.history[training.best_epoch - 1]
    # Sums of another number of threads are rounded elsewhere.
    assert figures.val_loss == pytest.approx(best.value, rel=0.02)
    assert (tmp_path / "again" / "split.csv").read_text() == (study / "split.csv").read_text()

    # Decoded once, and of the checkpoints only the best trial's are left.
    assert len(list(study.rglob("*.u8"))) == 1
    kept = [file.relative_to(study / "trials").as_posix() for file in study.rglob("*.pt")]
    assert kept == [f"{best.number:04d}/best.pt"]
    plots = {"history.png", "curves.png", "slices.png", "parallel.png", "importances.png"}
    assert plots <= {file.name for file in study.glob("*.png")}
    rows = (study / "trials.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["complete"] * 4

    # One tracked run for the search, and one below it for each trial.
    runs = tracked(config)
    (parent,) = [run for run in runs if run.data.tags.get("step") == "tune"]
    nested = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.info.run_name for run in nested) == [f"trial {n}" for n in range(4)]
    assert {run.info.status for run in [parent, *nested]} == {"FINISHED"}
    assert parent.data.metrics["best_val_loss"] == pytest.approx(best.value)
    files = MlflowClient(config.tracking.uri).list_artifacts(parent.info.run_id)
    assert {"best.yaml", "trials.csv", "history.png"} <= {file.path for file in files}

    # The same command does nothing more; what has another meaning is refused.
    run_search(config, search, Console(io.StringIO()))
    assert len(trials(config, search)) == 4
    wider = search.model_dump() | {"space": {"loop.batch_size": space["loop.batch_size"]}}
    with pytest.raises(ConfigError, match=r"begun with another space, conf.*: give"):
        run_search(config, SearchConfig.model_validate(wider), Console(io.StringIO()))
    other = config.model_copy(update={"seed": 3})
    with pytest.raises(ConfigError, match="begun with another configuration, split"):
        run_search(other, search, Console(io.StringIO()))
    assert (tmp_path / "again" / "split.csv").read_text() == (study / "split.csv").read_text()
    assert workers() == []


def test_a_trial_that_fails_or_crashes_does_not_end_the_search(
    shapes: Path, tmp_path: Path
) -> None:
    # One diverges, and one is killed, as the kernel does when memory runs out.
    rates = {"type": "categorical", "choices": [1e30, 0.004, 0.005]}
    config, search = settings(
        shapes, tmp_path, sampler="grid", space={"loop.learning_rate": rates}, trials=None
    )

    def kill() -> None:
        while not (found := workers()):
            time.sleep(0.05)
        found[0].kill()

    said = Listener("loop.learning_rate=0.004", lambda: threading.Thread(target=kill).start())
    run_search(config, search, Console(said))
    by_rate = {t.params["loop.learning_rate"]: t for t in trials(config, search)}
    assert by_rate[1e30].state == TrialState.FAIL
    assert "the loss is" in by_rate[1e30].user_attrs["error"]
    assert by_rate[0.004].state == TrialState.FAIL
    assert "ended by SIGKILL (the kernel" in by_rate[0.004].user_attrs["error"]
    assert by_rate[0.005].state == TrialState.COMPLETE
    assert "RUNNING" not in {run.info.status for run in tracked(config)}
    assert "the loss is" in (search.directory / "trials.csv").read_text()


def test_a_search_of_which_every_trial_fails_gives_up(shapes: Path, tmp_path: Path) -> None:
    rates = {"type": "float", "low": 1e29, "high": 1e30}
    config, search = settings(
        shapes, tmp_path, space={"loop.learning_rate": rates}, trials=9, max_failures=2
    )
    config = config.model_copy(
        update={"tracking": config.tracking.model_copy(update={"tracker": "none"})}
    )
    with pytest.raises(SearchError, match="2 trials in a row have failed, the last: the loss is"):
        run_search(config, search, Console(io.StringIO()))
    assert states(config, search) == ["FAIL", "FAIL"]
    assert workers() == []


def test_a_worse_trial_is_given_up_by_epoch(shapes: Path, tmp_path: Path) -> None:
    # The second diverges slowly enough to have a worse loss after its first epoch.
    rates = {"type": "categorical", "choices": [0.004, 0.8]}
    pruner = {"type": "median", "startup_trials": 1, "warmup_epochs": 0}
    config, search = settings(
        shapes, tmp_path, sampler="grid", space={"loop.learning_rate": rates}, trials=None,
        objective="val_loss", pruner=pruner, seed=1,
    )  # fmt: skip
    run_search(config, search, Console(io.StringIO()))
    first, second = trials(config, search)
    assert first.params["loop.learning_rate"] == 0.004
    assert second.state == TrialState.PRUNED
    assert len(second.intermediate_values) == 1
    (run,) = [run for run in tracked(config) if run.info.run_name == "trial 1"]
    assert run.info.status == "KILLED"


@pytest.mark.timeout(600)
def test_nothing_is_left_by_a_search_that_is_stopped_or_killed(
    shapes: Path, tmp_path: Path
) -> None:
    config, search = settings(shapes, tmp_path, trials=2)
    loop = config.loop.model_copy(update={"epochs": 400, "patience": 400})
    long = config.model_copy(update={"loop": loop})
    log = search.directory / "trials" / "0000" / "log.txt"

    def has_trained() -> None:
        while not (log.is_file() and "  train loss " in log.read_text()):
            time.sleep(0.05)

    # By SIGTERM, in the middle of its first trial.
    def stop() -> None:
        has_trained()
        os.kill(os.getpid(), signal.SIGTERM)

    said = Listener("trial 0:", lambda: threading.Thread(target=stop).start())
    with pytest.raises(SystemExit) as ended:
        run_search(long, search, Console(said))
    assert ended.value.code == 128 + signal.SIGTERM
    assert workers() == []
    assert states(long, search) == ["FAIL", "WAITING"]
    assert {run.info.status for run in tracked(long)} == {"KILLED"}

    # By SIGKILL, while the trial is repeated: nobody can clean up then.
    files = {"config": long, "search": search}
    for name, content in files.items():
        text = yaml.safe_dump(content.model_dump(mode="json"))
        (tmp_path / f"{name}.yaml").write_text(text)
    command = [sys.executable, "-m", "train", "tune"]
    command += [f"--{name}={tmp_path / name}.yaml" for name in files]
    lines = log.read_text().count("epoch ")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while log.read_text().count("epoch ") < lines + 2:
            assert process.poll() is None
            time.sleep(0.05)
        left = workers(process.pid)
        assert left
        process.kill()
    psutil.wait_procs(left, timeout=60)
    assert not any(each.is_running() for each in left)
    assert states(long, search) == ["FAIL", "RUNNING"]

    # The next one notices at once, and goes on with the same trial from its last state.
    assert "going on where the same training was interrupted" in log.read_text()
    said = Listener("trial 2:", lambda: threading.Thread(target=stop).start())
    log.write_text("")
    with pytest.raises(SystemExit):
        run_search(long, search, Console(said))
    assert "trial 1 was left by a process that is gone" in said.getvalue()
    assert "going on where the same training was interrupted" in log.read_text()
    first, *retries = trials(long, search)
    assert [trial.state.name for trial in retries] == ["FAIL", "FAIL", "WAITING"]
    assert all(trial.params == first.params for trial in retries)
    assert "RUNNING" not in {run.info.status for run in tracked(long)}
    assert len(tracked(long)) == 2


def test_two_processes_never_take_the_same_trial(shapes: Path, tmp_path: Path) -> None:
    config, search = settings(shapes, tmp_path)
    with quiet():
        study = open_study(search, config)
        for number in range(40):
            study.enqueue_trial({"x": float(number)})
        taken: list[int] = []

        def take() -> None:
            # A connection of its own, as another process has.
            own = open_study(search, config)
            while own.get_trials(False, (TrialState.WAITING,)):
                taken.append(own.ask().number)

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(n for n in taken if n < 40) == list(range(40))
    assert optuna.load_study(study_name="study", storage=study._storage).trials
