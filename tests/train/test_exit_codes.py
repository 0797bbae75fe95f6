"""What the process says to whoever started it: mend it, try again, or it was stopped."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from train import torchrun, training
from train.__main__ import EXIT_AWAY, EXIT_ERROR, main

from .conftest import shapes_tree


@pytest.fixture
def config(shapes: Path, tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(shapes_tree(shapes, tmp_path / "run")))
    return file


@pytest.mark.parametrize(
    ("root", "code"),
    [("http://127.0.0.1:1/images", EXIT_AWAY), ("nosuch://images", EXIT_ERROR)],
)
def test_images_that_are_away_may_come_back(config: Path, root: str, code: int) -> None:
    assert main(["fit", "--config", str(config), f"data.root={root}"]) == code


def test_a_study_whose_database_is_away_may_come_back(config: Path, tmp_path: Path) -> None:
    search = tmp_path / "search.yaml"
    space = {"loop.learning_rate": {"type": "float", "low": 0.001, "high": 0.01}}
    search.write_text(
        yaml.safe_dump(
            {"name": "shapes", "output": str(tmp_path / "study"), "trials": 1, "space": space}
        )
    )
    command = ["tune", "--config", str(config), "--search", str(search)]
    away = "search.storage=postgresql+psycopg://me@127.0.0.1:1/studies"
    assert main([*command, away]) == EXIT_AWAY
    assert main([*command, "search.storage=nowhere"]) == EXIT_ERROR


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ESTALE, EXIT_AWAY), (errno.ETIMEDOUT, EXIT_AWAY), (errno.ENOSPC, EXIT_ERROR),
     (errno.EACCES, EXIT_ERROR)],
)  # fmt: skip
def test_a_file_system_that_is_away_may_come_back_but_a_full_disk_stays_full(
    config: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/data")

    monkeypatch.setattr(training, "open_folder", fail)
    assert main(["fit", "--config", str(config)]) == code


@pytest.mark.parametrize("code", [0, 1, 2, 75, 143])
def test_torchrun_ends_as_its_processes_do(code: int) -> None:
    assert torchrun.main(["--nproc-per-node=1", "--no-python", "sh", "-c", f"exit {code}"]) == code


def test_the_process_that_failed_by_itself_decides() -> None:
    script = "sleep 0.$LOCAL_RANK; exit $((2 - LOCAL_RANK))"
    command = ["--nproc-per-node=2", "--monitor-interval=1", "--no-python", "sh", "-c", script]
    assert torchrun.main(command) == 2


def test_a_process_that_was_killed_is_told_apart() -> None:
    # A dollar sign is torchrun's own, and stands for itself when there are two.
    script = "kill -KILL $$$$"
    assert torchrun.main(["--nproc-per-node=1", "--no-python", "sh", "-c", script]) == 137


def test_torchrun_that_is_asked_to_stop_says_so(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap 'exit 143' TERM; touch {ready}; while :; do sleep 0.1; done"
    command = [sys.executable, "-m", "train.torchrun", "--nproc-per-node=1", "--no-python"]
    with subprocess.Popen([*command, "sh", "-c", script], stderr=subprocess.DEVNULL) as process:
        while not ready.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM


def test_torchrun_that_waits_for_other_machines_ends_at_once() -> None:
    command = [sys.executable, "-m", "train.torchrun", "--nnodes=2", "--node-rank=1"]
    # Of a Service whose first pod does not run yet.
    command += ["--master-addr=train-0.invalid", "--rdzv-conf=timeout=1800", "--no-python", "true"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        # The first failed look-up is told, and it goes on looking.
        told = next(line for line in process.stderr if "train-0.invalid" in line)
        assert told
        time.sleep(1.0)
        assert process.poll() is None
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM
