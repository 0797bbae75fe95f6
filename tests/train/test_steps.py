"""The command line, step by step, as a person would use it."""

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from train.__main__ import main
from train.console import Console
from train.run import Run

from .conftest import shapes_tree
from .seen import in_mlflow


@pytest.fixture
def tree(shapes: Path, tmp_path: Path) -> dict[str, Any]:
    tree = shapes_tree(shapes, tmp_path / "run")
    tree["loop"]["epochs"] = 1
    return tree


@pytest.fixture
def config(tree: dict[str, Any], tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def test_help_names_every_step() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "train", "--help"], capture_output=True, text=True, check=True
    )
    for step in ("phantom", "fit", "evaluate", "export", "release", "demo"):
        assert re.search(rf"^\s+{step}\s", done.stdout, re.MULTILINE)


def test_fit_leaves_what_the_later_steps_need(config: Path, tmp_path: Path) -> None:
    assert main(["fit", "--config", str(config)]) == 0
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert names >= {
        "config.json", "split.csv", "training.json", "best.pt", "last.pt", "tracking.json",
    }  # fmt: skip
    assert not [name for name in names if name.startswith(".")]


def test_a_second_fit_reuses_a_split_file(
    config: Path, tree: dict[str, Any], tmp_path: Path
) -> None:
    assert main(["fit", "--config", str(config)]) == 0
    first = (tmp_path / "run" / "split.csv").read_text()
    (tmp_path / "given.csv").write_text(first)
    again = ["seed=99", f"output={tmp_path / 'again'}", f"data.split.file={tmp_path / 'given.csv'}"]
    assert main(["fit", "--config", str(config), *again]) == 0
    assert (tmp_path / "again" / "split.csv").read_text() == first


def test_steps_out_of_order_name_the_step_that_is_missing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert main(["evaluate", "--run", run]) == 2
    assert "`python -m train fit` writes it" in capsys.readouterr().err
    assert main(["fit", "--config", str(config), "tracking.tracker=none"]) == 0
    assert main(["export", "--run", run]) == 2
    assert "evaluation.json is missing; `python -m train evaluate`" in capsys.readouterr().err
    assert main(["evaluate", "--run", run]) == 0
    assert main(["release", "--run", run]) == 2
    assert "bundle" in capsys.readouterr().err


def test_changed_data_is_noticed_by_the_later_steps(
    config: Path, tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", str(config), "tracking.tracker=none"]) == 0
    other = tmp_path / "other"
    other.mkdir()
    run = Run.open(tmp_path / "run", [], Console(io.StringIO()))
    keep = [sample for sample in run.data.samples if sample.file != "disc/03-1.png"]
    rows = [f"{s.file},{tree['data']['classes'][s.label]['key']},{s.group}," for s in keep]
    for sample in keep:
        (other / sample.file).parent.mkdir(exist_ok=True)
        (other / sample.file).write_bytes((run.data.root / sample.file).read_bytes())
    (other / "labels.csv").write_text("\n".join(["file,label,patient,mask", *rows]) + "\n")
    assert main(["evaluate", "--run", str(tmp_path / "run"), f"data.root={other}"]) == 2
    assert "which the data has not" in capsys.readouterr().err


def test_a_failing_fit_leaves_no_results_of_an_earlier_one(config: Path, tmp_path: Path) -> None:
    assert main(["fit", "--config", str(config)]) == 0
    assert main(["evaluate", "--run", str(tmp_path / "run")]) == 0
    wild = ["loop.learning_rate=1e30", "loop.warmup_epochs=0", "loop.epochs=20"]
    assert main(["fit", "--config", str(config), *wild]) == 2
    left = {file.name for file in (tmp_path / "run").iterdir()}
    assert left == {
        "config.json", "split.csv", "leakage.json", "data.csv", "tracking.json", "cache",
        "tracking",
    }  # fmt: skip


def test_an_output_that_cannot_be_written_is_named(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["fit", "--config", str(config), f"output={tmp_path / 'file' / 'run'}"]) == 2
    assert re.search(r"^error: config field output is .*/file/run", capsys.readouterr().err)


def test_fit_leaves_files_alone_that_are_not_its_own(config: Path, tmp_path: Path) -> None:
    mine = tmp_path / "run"
    (mine / "bundle").mkdir(parents=True)
    for name in ("notes.txt", "mlflow.db", "labels.csv", "bundle/thesis.tex"):
        (mine / name).write_text("years of work")
    assert main(["fit", "--config", str(config), "tracking.tracker=none"]) == 0
    for name in ("notes.txt", "mlflow.db", "labels.csv", "bundle/thesis.tex"):
        assert (mine / name).read_text() == "years of work"


@pytest.mark.parametrize(
    "mistake", ["loop.batch_size=1000", "tracking.uri=sqlite:////proc/nowhere/mlflow.db"]
)
def test_a_mistake_in_the_next_fit_keeps_the_results_of_this_one(
    config: Path, tmp_path: Path, mistake: str
) -> None:
    assert main(["fit", "--config", str(config)]) == 0
    names = ("best.pt", "last.pt", "split.csv", "training.json", "tracking.json")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in names}
    assert main(["fit", "--config", str(config), mistake]) == 2
    assert {name: (tmp_path / "run" / name).read_bytes() for name in names} == before


def test_sigterm_ends_the_tracked_run(
    config: Path, fit_and_die: Callable[[Path, str], int], tree: dict[str, Any], tmp_path: Path
) -> None:
    assert fit_and_die(config, "term 5") == 143
    run_id = json.loads((tmp_path / "run" / "tracking.json").read_text())["run_id"]
    (tmp_path / "read").mkdir()
    assert in_mlflow(tree["tracking"]["uri"], run_id, tmp_path / "read").status == "KILLED"


def test_no_bar_is_drawn_where_there_is_no_terminal(
    config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", str(config), "tracking.tracker=none"]) == 0
    said = capfd.readouterr().err
    assert "\r" not in said
    assert re.search(r"epoch +1 +train loss \d\.\d+ +val loss", said)


def test_metrics_are_those_of_the_test_split_alone(exported: Run) -> None:
    evaluation = json.loads((exported.path / "evaluation.json").read_text())
    test = exported.indices("test")
    assert evaluation["metrics"]["images"] == len(test)
    assert np.sum(evaluation["metrics"]["confusion"]) == len(test)
    assert 0.0 <= evaluation["cam_hit_rate"] <= 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{depth: 0}", r"field model\.options\.depth is 0: .*options of baseline: depth, width"),
        ("{width: wide}", r"field model\.options\.width is 'wide': .*valid integer"),
        ("{hieght: 3}", r"field model\.options\.hieght is 3: .*depth, width, dropout"),
    ],
)
def test_wrong_options_of_the_network_change_nothing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    assert main(["fit", "--config", str(config), f"model.options={options}"]) == 2
    assert re.search(message, capsys.readouterr().err)
    # Not even the images were decoded.
    assert not (tmp_path / "run").exists()


def test_other_pixels_or_weights_are_noticed_by_the_later_steps(
    config: Path, tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, run = tmp_path / "copy", str(tmp_path / "run")
    shutil.copytree(tree["data"]["root"], root)
    untracked = ["tracking.tracker=none", f"data.root={root}"]
    assert main(["fit", "--config", str(config), *untracked]) == 0
    good = (root / "disc/03-1.png").read_bytes()
    Image.new("L", (80, 80), 9).save(root / "disc/03-1.png")
    assert main(["evaluate", "--run", run]) == 2
    assert "have changed since fit" in capsys.readouterr().err
    (root / "disc/03-1.png").write_bytes(good)
    assert main(["evaluate", "--run", run, "model.options.width=12"]) == 2
    assert "model.options.width is 12, but fit" in capsys.readouterr().err
    narrow = [*untracked, "model.options={width: 4}", f"output={tmp_path / 'narrow'}"]
    assert main(["fit", "--config", str(config), *narrow]) == 0
    shutil.copy(tmp_path / "narrow" / "best.pt", tmp_path / "run" / "best.pt")
    assert main(["evaluate", "--run", run]) == 2
    assert "best.pt is a checkpoint of another network" in capsys.readouterr().err


def test_a_file_for_a_run_is_an_error_of_one_line(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--run", str(config)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
