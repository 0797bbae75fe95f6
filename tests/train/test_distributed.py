"""Trainings of two processes that a real torchrun has started, over gloo on the CPU."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from model.architectures import build
from train import inference
from train.__main__ import main
from train.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from train.console import Console
from train.inference import logits_of
from train.losses import negative_log_likelihood
from train.run import Run

from .conftest import shapes_tree
from .plain import offer_plain
from .test_resume import same, without_times

HERE = Path(__file__).resolve()


@pytest.fixture(autouse=True, scope="module")
def _plain() -> None:
    offer_plain()


class Done(NamedTuple):
    """What torchrun and its processes have left."""

    code: int
    codes: list[str | None]
    said: str


def write_config(shapes: Path, directory: Path, *, drawn: bool = True) -> Path:
    tree = shapes_tree(shapes, directory / "run")
    options = {"depth": 2, "width": 8, "dropout": 0.3 if drawn else 0.0}
    weights = shapes.parent / "plain.pt"
    if not weights.exists():
        save_checkpoint(weights, {"model": build("plain", 3, options).state_dict()})
    tree["model"] = {"architecture": "plain", "options": options, "weights": str(weights)}
    # Some steps pass before torchrun has told its processes of a signal.
    tree["loop"] |= {"epochs": 4 if drawn else 2, "checkpoint_minutes": 0.0}
    # All that has to come out right when it is shared: 12 batches are 6 steps an epoch.
    tree["loop"] |= {"accumulate": 2, "freeze_epochs": 1, "ema_decay": 0.9}
    tree["loop"] |= {"class_weights": {"plain": 1, "disc": 2, "bars": 5}}
    if not drawn:
        tree["augment"] = {"preset": "none"}
    directory.mkdir(exist_ok=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(tree))
    return directory / "config.yaml"


def fit_together(config: Path, point: str = "none 0", rank: int = 1, *overrides: str) -> Done:
    codes = [config.with_name(f"code-{rank}") for rank in (0, 1)]
    for file in codes:
        file.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "tests.train.fit_together", str(rank), *point.split(), str(config), *overrides],
        cwd=HERE.parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )  # fmt: skip
    told = [file.read_text() if file.is_file() else None for file in codes]
    return Done(done.returncode, told, done.stderr)


def tracked_runs(config: Path) -> list[MlflowRun]:
    store = MlflowClient(yaml.safe_load(config.read_text())["tracking"]["uri"])
    experiment = store.get_experiment_by_name("sightline")
    assert experiment is not None
    return list(store.search_runs([experiment.experiment_id]))


def processes_of(config: Path) -> list[psutil.Process]:
    running = psutil.process_iter(["cmdline"])
    return [each for each in running if str(config) in (each.info["cmdline"] or [])]


def history(config: Path, name: str = "run") -> list[dict[str, Any]]:
    training = json.loads((config.with_name(name) / "training.json").read_text())
    return list(training["history"])


@pytest.fixture(scope="module")
def even(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A training without dropout and augmentation, by two processes."""
    config = write_config(shapes, tmp_path_factory.mktemp("even"), drawn=False)
    return config, fit_together(config)


def test_two_processes_train_what_one_does(even: tuple[Path, Done], tmp_path: Path) -> None:
    config, done = even
    assert (done.code, done.codes) == (0, ["0", "0"])
    overrides = [f"output={tmp_path}", "tracking.tracker=none"]
    assert main(["fit", "--config", str(config), *overrides]) == 0
    alone = json.loads((tmp_path / "training.json").read_text())["history"]
    for one, two in zip(alone, history(config), strict=True):
        # Sums of float32 in another order; AdamW divides by small numbers, which enlarges it.
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-3)
        assert two["val_loss"] == pytest.approx(one["val_loss"], rel=1e-3)
    one, two = (load_checkpoint(d / LAST)["model"] for d in (tmp_path, config.with_name("run")))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-3)


def test_what_two_processes_validate_is_exactly_what_one_does(
    even: tuple[Path, Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = even
    monkeypatch.setattr(inference, "BATCH", 4)
    run = Run.open(config.with_name("run"), [], Console(silent=True))
    val = run.indices("val")
    assert len(val) > 4
    assert len(val) % 8
    best = load_checkpoint(run.path / BEST)
    logits = logits_of(run.network(), run.data.images[val], torch.device("cpu"))
    assert negative_log_likelihood(logits, run.data.labels[val]) == best["val_loss"]


def test_one_process_speaks_tracks_and_writes_for_all(even: tuple[Path, Done]) -> None:
    config, done = even
    assert len(re.findall(r"^epoch +1 ", done.said, re.MULTILINE)) == 1
    assert "2 processes, each " in done.said
    (recorded,) = tracked_runs(config)
    assert recorded.info.status == "FINISHED"
    assert recorded.data.tags["machine.processes"] == "2"
    assert not list(config.with_name("run").glob(".*"))
    origin = json.loads((config.with_name("run") / "training.json").read_text())["provenance"]
    assert (origin["machine"]["processes"], origin["machine"]["machines"]) == (2, 1)


@pytest.fixture(scope="module")
def interrupted(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A training with dropout, whose torchrun has got SIGTERM in the second of its epochs."""
    config = write_config(shapes, tmp_path_factory.mktemp("interrupted"))
    return config, fit_together(config, "term 8")


def test_at_sigterm_all_save_and_leave_together(interrupted: tuple[Path, Done]) -> None:
    config, done = interrupted
    assert done.code != 0
    assert done.codes == ["143", "143"]
    assert "stopped by a signal; the same command goes on from here" in done.said
    saved = load_checkpoint(config.with_name("run") / LAST)
    assert len(saved["generators"]) == 2
    assert not same(*(each["torch"] for each in saved["generators"]))
    assert [run.info.status for run in tracked_runs(config)] == ["KILLED"]
    assert processes_of(config) == []


def test_an_interrupted_training_ends_like_one_that_never_was(
    interrupted: tuple[Path, Done], shapes: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "again"
    shutil.copytree(interrupted[0].parent, directory)
    config = write_config(shapes, directory)
    # Once more, by the loss of the torchrun that has started them.
    done = fit_together(config, "orphan 2")
    assert (done.code, done.codes) == (-signal.SIGKILL, ["143", "143"])
    assert processes_of(config) == []
    assert "going on where the same training was interrupted\n" in done.said
    assert fit_together(config).code == 0
    whole = write_config(shapes, tmp_path / "whole")
    assert fit_together(whole).code == 0
    for name in (BEST, LAST):
        one, other = (load_checkpoint(each.with_name("run") / name) for each in (config, whole))
        if name == LAST:
            one, other = without_times(one), without_times(other)
        else:
            one["seconds"] = other["seconds"] = 0.0
        assert same(one, other)
    assert [run.info.status for run in tracked_runs(whole)] == ["FINISHED"]


def test_another_number_of_processes_goes_on_and_says_what_that_means(
    interrupted: tuple[Path, Done],
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = tmp_path / "fewer"
    shutil.copytree(interrupted[0].parent, directory)
    assert main(["fit", "--config", str(write_config(shapes, directory))]) == 0
    assert "2 process(es) had begun it and 1 go on" in capsys.readouterr().err
    assert len(load_checkpoint(directory / "run" / LAST)["at"]["history"]) == 4


@pytest.mark.parametrize(
    ("point", "rank", "told"),
    [
        ("raise 5", 1, "ArithmeticError: it went wrong here"),
        ("kill 5", 1, "lost another process, which torchrun names"),
        ("kill 5", 0, "lost another process, which torchrun names"),
    ],
)
def test_a_process_that_fails_ends_all_and_the_tracked_run(
    shapes: Path, tmp_path: Path, point: str, rank: int, told: str
) -> None:
    config = write_config(shapes, tmp_path)
    done = fit_together(config, point, rank)
    assert done.code == 1
    assert told in done.said
    if point.startswith("raise"):
        assert re.search(rf"^rank {rank}: .*{told}$", done.said, re.MULTILINE)
        assert done.codes == ["1", "1"]
    else:
        assert "Signal 9 (SIGKILL)" in done.said
        assert done.codes == (["1", None] if rank == 1 else [None, "1"])
    assert re.search(rf"^rank {1 - rank}: ", done.said, re.MULTILINE)
    (recorded,) = tracked_runs(config)
    assert recorded.info.status == "FAILED"
    expected = "rank 1: it went wrong here" if point.startswith("raise") else "lost another process"
    assert expected in recorded.data.tags["error"]
    assert processes_of(config) == []


def test_shares_of_validation_cover_it_once() -> None:
    for count in (1, 3, 4, 5, 17):
        for size in (1, 2, 3, 8):
            shares = [inference.share(count, rank, size) for rank in range(size)]
            covered = np.concatenate([np.arange(count)[share] for share in shares])
            assert covered.tolist() == list(range(count))
