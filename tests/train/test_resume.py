"""A training that is interrupted anywhere ends with the weights of one that never was."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mlflow import MlflowClient

from model.architectures import build
from train.__main__ import main
from train.checkpoint import load_checkpoint

from .conftest import shapes_tree

FitAndDie = Callable[[Path, str], int]
EPOCHS = 3


# All that has a state of its own, at once. From the second epoch on the backbone learns too.
EVERYTHING = {
    "augment": {"preset": "strong", "mixup": 0.4, "cutmix": 1.0},
    "loop": {
        "amp": "fp16",
        "sampler": "balanced",
        "optimiser": "sgd",
        "schedule": "plateau",
        "plateau_patience": 1,
        "accumulate": 2,
        "batch_size": 2,
        "ema_decay": 0.9,
        "freeze_epochs": 1,
        "layer_decay": 0.8,
        "loss": "focal",
        "monitor": "auroc",
        "deterministic": True,
    },
}


def write_config(
    shapes: Path, directory: Path, more: dict[str, dict[str, Any]] | None = None
) -> Path:
    tree = shapes_tree(shapes, directory / "run")
    # Dropout draws from the process's own generator, which has to be brought back too.
    tree["model"]["options"]["dropout"] = 0.3
    tree["loop"] |= {"epochs": EPOCHS, "checkpoint_minutes": 0.0}
    for section, settings in (more or {}).items():
        tree[section] = tree.get(section, {}) | settings
    if tree["loop"].get("freeze_epochs"):
        tree["model"]["weights"] = str(directory / "backbone.pt")
        network = build("baseline", 3, tree["model"]["options"])
        torch.save(network.state_dict(), directory / "backbone.pt")
    (directory / "config.yaml").write_text(yaml.safe_dump(tree))
    return directory / "config.yaml"


@pytest.fixture
def config(shapes: Path, tmp_path: Path) -> Path:
    return write_config(shapes, tmp_path)


def same(a: object, b: object) -> bool:
    """Bit for bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def without_times(state: dict[str, Any]) -> dict[str, Any]:
    state["at"]["seconds"] = 0.0
    for epoch in state["at"]["history"]:
        epoch["seconds"] = 0.0
    return state


@pytest.mark.timeout(600)
@pytest.mark.parametrize("more", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_a_training_that_is_killed_again_and_again_ends_the_same(
    shapes: Path,
    fit_and_die: FitAndDie,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: dict[str, dict[str, Any]],
) -> None:
    config = write_config(shapes, tmp_path, more)
    # Of 12 steps an epoch: within the first, while its best state is being written, by a signal
    # early in the second, and once more.
    points = ["step 5", "write 9", "term 4", "step 3"]
    codes = [fit_and_die(config, point) for point in points]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 143, -signal.SIGKILL]
    assert main(["fit", "--config", str(config)]) == 0
    assert "going on where the same training was interrupted" in capsys.readouterr().err
    assert main(["fit", "--config", str(config), f"output={tmp_path / 'whole'}"]) == 0
    for name in ("best.pt", "last.pt"):
        interrupted, whole = (load_checkpoint(tmp_path / d / name) for d in ("run", "whole"))
        if name == "last.pt":
            assert len(whole["at"]["history"]) == EPOCHS
            interrupted, whole = without_times(interrupted), without_times(whole)
        else:
            interrupted["seconds"] = whole["seconds"] = 0.0
        assert same(interrupted, whole)
    assert not list((tmp_path / "run").glob(".*"))
    # All of it is one tracked run, and the uninterrupted training the other.
    store = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = store.get_experiment_by_name("sightline")
    assert experiment is not None
    runs = store.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]


@pytest.fixture(scope="module")
def killed(shapes: Path, fit_and_die: FitAndDie, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a configuration and the run that was killed in its first epoch."""
    directory = tmp_path_factory.mktemp("killed")
    config = write_config(shapes, directory)
    assert fit_and_die(config, "step 5") == -signal.SIGKILL
    return directory


@pytest.mark.parametrize(
    ("change", "resumed"),
    [
        ("release.alias=other", True),
        ("seed=9", False),
        ("loop.learning_rate=0.001", False),
        ("loop.resume=never", False),
    ],
)
def test_only_the_same_training_is_gone_on_from(
    killed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, resumed: bool
) -> None:
    shutil.copytree(killed / "run", tmp_path / "run")
    overrides = [f"output={tmp_path / 'run'}", change]
    assert main(["fit", "--config", str(killed / "config.yaml"), *overrides]) == 0
    assert ("going on" in capsys.readouterr().err) == resumed
    assert load_checkpoint(tmp_path / "run" / "last.pt")["at"]["epoch"] == EPOCHS + 1


def test_a_training_that_is_asked_for_once_is_not_begun_again(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fit", "--config", str(config), "loop.epochs=1", "loop.resume=once"]
    weights = tmp_path / "run" / "best.pt"
    assert main(command) == 0
    before = weights.stat().st_mtime_ns
    assert main(command) == 0
    assert "trained already, 1 epochs" in capsys.readouterr().err
    assert weights.stat().st_mtime_ns == before
    (run,) = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_runs(["1"])
    assert run.info.status == "FINISHED"
    assert main([*command, "seed=9"]) == 0
    assert weights.stat().st_mtime_ns != before


def test_a_finished_training_is_not_gone_on_from(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["fit", "--config", str(config), "loop.epochs=1"]) == 0
    assert "going on" not in capsys.readouterr().err
