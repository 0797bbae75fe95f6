import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from train import provenance
from train.distributed import World
from train.machine import describe_machine, summary
from train.run import Run

HERE = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_in_an_image_the_build_tells_the_commit(tmp_path: Path) -> None:
    # As in an image: the packages alone, in no repository, and no git to ask.
    for package in ("model", "train"):
        shutil.copytree(HERE / package, tmp_path / package)
    told = [COMMIT, f"{COMMIT}-dirty", "unknown", ""]
    code = """if True:
        import os, sys
        from train.provenance import REVISION, code_revision
        for told in sys.argv[1:]:
            os.environ[REVISION] = told
            print(code_revision())
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *told],
        cwd=tmp_path,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = [(COMMIT, False), (COMMIT, True), (None, None), (None, None)]
    assert done.stdout.splitlines() == list(map(repr, found))


def test_a_changed_working_tree_is_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train").mkdir()
    file = tmp_path / "train" / "provenance.py"
    file.write_text("# as committed\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    monkeypatch.setattr(provenance, "__file__", str(file))
    monkeypatch.setenv(provenance.REVISION, COMMIT)
    assert provenance.code_revision() == (head.stdout.strip(), False)
    file.write_text("# and changed\n")
    assert provenance.code_revision() == (head.stdout.strip(), True)


def test_the_dockerfile_sets_the_variable_that_is_read() -> None:
    assert f"ENV {provenance.REVISION}=${{REVISION}}" in (HERE / "Dockerfile").read_text()


def test_the_machine_is_described() -> None:
    machine = describe_machine(torch.device("cpu"), World())
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.memory_bytes > 2**28
    assert (machine.processes, machine.machines, machine.gpus) == (1, 1, [])
    assert summary(machine).startswith(machine.cpu)
    several = machine.model_copy(update={"processes": 8, "machines": 2, "gpus": ["H100"] * 8})
    assert summary(several) == "8 processes on 2 machines, each H100"


def test_the_bundle_says_where_it_comes_from(exported: Run) -> None:
    origin = json.loads((exported.bundle_path / "manifest.json").read_text())["provenance"]
    assert origin["seed"] == exported.config.seed
    assert origin["machine"]["threads"] == torch.get_num_threads()
    assert {"python", "torch", "numpy", "pillow", "scikit-learn", "mlflow"} <= set(
        origin["versions"]
    )
