"""Cross-validation: how the folds are drawn, kept and read, and the command that trains them."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from sklearn.metrics import f1_score

from model.manifest import ClassInfo
from train import folds
from train.__main__ import main
from train.data.sample import PARTS, Sample
from train.data_config import SplitConfig
from train.errors import DataError
from train.folds import draw_folds, parts_of_fold, read_folds, write_folds
from train.spread import spread

from .conftest import shapes_tree

CLASSES = [
    ClassInfo(key=key, name=key, description=key, severity="none") for key in ("a", "b", "c")
]


def samples(patients: int = 12, images: int = 3) -> list[Sample]:
    return [
        Sample(f"{label}-{patient}-{image}.png", label, f"{label}-{patient}")
        for label in range(3)
        for patient in range(patients)
        for image in range(1 + patient % images)
    ]


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 8), st.integers(0, 10), st.integers(1, 5), st.integers(0, 5))
def test_every_image_is_tested_once_and_no_patient_in_two_folds(
    count: int, more: int, images: int, seed: int
) -> None:
    patients = max(count, 4) + more
    everything = samples(patients, images)
    found = draw_folds(everything, CLASSES, count, seed)
    tested = [0] * len(everything)
    for number in range(count):
        config = SplitConfig(folds=count, fold=number)
        parts = parts_of_fold(everything, CLASSES, found, config, seed)
        homes: dict[str, set[str]] = {}
        for position, (sample, part) in enumerate(zip(everything, parts, strict=True)):
            homes.setdefault(sample.group, set()).add(part)
            tested[position] += part == "test"
        assert all(len(home) == 1 for home in homes.values())
        pairs = {(s.label, p) for s, p in zip(everything, parts, strict=True)}
        assert pairs == {(label, part) for label in range(3) for part in PARTS}
    assert tested == [1] * len(everything)


def test_the_folds_keep_the_shares_of_the_classes_and_of_validation() -> None:
    everything = [*samples(60, 1), *(Sample(f"x{n}", 0, f"x{n}") for n in range(120))]
    found = draw_folds(everything, CLASSES, 5, 0)
    for number in range(5):
        labels = [s.label for s, fold in zip(everything, found, strict=True) if fold == number]
        assert [labels.count(label) for label in range(3)] == [36, 12, 12]
    parts = parts_of_fold(everything, CLASSES, found, SplitConfig(folds=5, fold=2, val=0.25), 0)
    assert parts.count("val") == pytest.approx(0.25 * 240, abs=6)


def test_too_few_patients_are_named() -> None:
    few = [s for s in samples() if s.label != 1 or s.group in ("1-0", "1-1", "1-2", "1-3")]
    with pytest.raises(DataError, match=r"class b .* 4 patient\(s\).*at least 5 .* 5 folds"):
        draw_folds(few, CLASSES, 5, 0)
    one = [s if s.label != 2 else Sample(s.file, 2, "the same") for s in samples()]
    with pytest.raises(DataError, match=r"class c has images of 1 patient\(s\), 24 image\(s\)"):
        draw_folds(one, CLASSES, 2, 0)


def test_a_deal_that_leaves_a_class_out_of_a_fold_is_never_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Three patients, of whom one has nearly all images, and of two classes: the deal goes for size.
    everything = samples(4, 1)
    everything += [Sample(f"large-{n}", n % 2, "0-0") for n in range(500)]
    for seed in range(10):
        found = draw_folds(everything, CLASSES, 4, seed)
        pairs = {(s.label, f) for s, f in zip(everything, found, strict=True)}
        assert len(pairs) == 12
    # As if no seed gave a better deal than all in one fold.
    monkeypatch.setattr(folds, "deal", lambda samples, count, seed: np.zeros(len(samples), int))
    with pytest.raises(DataError, match=r"in each of 20 draws one fold leaves .* class a to the"):
        draw_folds(everything, CLASSES, 4, 0)


def test_saved_folds_are_read_back_and_those_of_other_data_refused(tmp_path: Path) -> None:
    everything = samples()
    found = draw_folds(everything, CLASSES, 4, 0)
    file = tmp_path / "folds.csv"
    write_folds(file, everything, CLASSES, found)
    assert read_folds(file, everything, CLASSES, 4) == found
    text = file.read_text()
    other = (found[1] + 1) % 4
    assert text.count("0-1-0.png,a,0-1,") == 1
    for old, new, told in (
        ("0-0-0.png,a,0-0,", "0-9-9.png,a,0-0,", r"lacks image 0-0-0\.png"),
        ("0-0-0.png,a,0-0,", "0-0-0.png,a,0-0,7", r"fold of 0-0-0\.png is '7\d'; .* 0 to 3"),
        (f"0-1-0.png,a,0-1,{found[1]}", f"0-1-0.png,a,0-1,{other}", r"patient 0-1 is in the folds"),
    ):
        assert old in text
        file.write_text(text.replace(old, new))
        with pytest.raises(DataError, match=told):
            read_folds(file, everything, CLASSES, 4)
    file.write_text(re.sub(r"^(.*,c,.*),0$", r"\1,1", text, flags=re.MULTILINE))
    with pytest.raises(DataError, match=r"a fold has no image of class c"):
        read_folds(file, everything, CLASSES, 4)
    file.write_text(text)
    with pytest.raises(DataError, match=r"accepted with 3 folds: 0 to 2"):
        read_folds(file, everything, CLASSES, 3)


def test_mean_and_standard_deviation_are_those_of_a_sample() -> None:
    found = spread([{"a": 1.0, "b": 5.0}, {"a": 2.0}, {"a": 4.0, "b": 5.0}])
    assert found.keys() == {"a"}
    assert found["a"].mean == pytest.approx(7 / 3)
    assert found["a"].sd == pytest.approx(np.std([1, 2, 4], ddof=1))


@pytest.fixture
def tree(shapes: Path, tmp_path: Path) -> dict[str, Any]:
    tree = shapes_tree(shapes, tmp_path / "cv")
    tree["loop"] |= {"epochs": 2, "batch_size": 8}
    tree["data"]["split"] = {"folds": 3}
    return tree


@pytest.fixture
def config(tree: dict[str, Any], tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def test_all_folds_are_trained_summed_up_and_not_trained_again(
    config: Path, tree: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cv = tmp_path / "cv" / "folds"
    assert main(["folds", "--config", str(config), "--fold", "1"]) == 0
    assert "still to be trained: 0, 2" in capfd.readouterr().err
    assert not (cv / "folds.json").exists()
    first = (cv / "fold-1" / "best.pt").read_bytes()
    assert main(["folds", "--config", str(config)]) == 0
    said = capfd.readouterr().err
    assert "fold 1 is done" in said
    assert re.search(r"test_macro_f1 +\d\.\d{3} +\d\.\d{3}( +\d\.\d{3}){3}\n", said)
    assert (cv / "fold-1" / "best.pt").read_bytes() == first

    summary = json.loads((cv / "folds.json").read_text())
    each = [json.loads((cv / f"fold-{n}" / "evaluation.json").read_text()) for n in range(3)]
    scores = [one["metrics"]["macro_f1"] for one in each]
    assert summary["figures"]["test_macro_f1"]["folds"] == scores
    assert summary["figures"]["test_macro_f1"]["sd"] == pytest.approx(np.std(scores, ddof=1))
    with (cv / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["file"] for row in rows}) == len(rows) == 72
    tested = {
        line["file"]: str(number)
        for number in range(3)
        for line in csv.DictReader((cv / f"fold-{number}" / "split.csv").read_text().splitlines())
        if line["split"] == "test"
    }
    assert {row["file"]: row["fold"] for row in rows} == tested
    pooled = f1_score([r["label"] for r in rows], [r["predicted"] for r in rows], average="macro")
    assert summary["pooled"]["macro_f1"] == pytest.approx(pooled)
    assert summary["pooled"]["images"] == 72

    client = MlflowClient(tree["tracking"]["uri"])
    experiment = client.get_experiment_by_name("sightline")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    outer = [run for run in runs if run.data.tags.get("step") == "folds"]
    assert len(outer) == 1
    assert outer[0].info.status == "FINISHED"
    assert outer[0].data.metrics["test_macro_f1_mean"] == pytest.approx(np.mean(scores))
    inner = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == outer[0].info.run_id]
    assert sorted(run.data.params["data.split.fold"] for run in inner) == ["0", "1", "2"]

    # With other settings nothing of it counts as done.
    assert main(["folds", "--config", str(config), "--fold", "1", "loop.epochs=1"]) == 0
    assert (cv / "fold-1" / "best.pt").read_bytes() != first
    # The steps after fit find a fold like any other run.
    assert main(["evaluate", "--run", str(cv / "fold-2")]) == 0


def test_a_fold_can_be_trained_by_fit_alone(config: Path, tmp_path: Path) -> None:
    given = [f"data.split.file={tmp_path / 'shared.csv'}", "tracking.tracker=none"]
    for number in (0, 2):
        one = [f"data.split.fold={number}", f"output={tmp_path / str(number)}", "loop.epochs=1"]
        assert main(["fit", "--config", str(config), *given, *one]) == 0
    shared = (tmp_path / "shared.csv").read_text()
    assert (tmp_path / "0" / "folds.csv").read_text() == shared
    assert (tmp_path / "2" / "folds.csv").read_text() == shared


@pytest.mark.parametrize(
    ("step", "items", "message"),
    [
        ("fit", [], r"data\.split\.folds is 3, but data\.split\.fold is not set; accepted: 0 to 2"),
        ("fit", ["data.split.fold=3"], r"fold is 3; accepted with 3 folds: 0 to 2"),
        ("fit", ["data.split={fold: 1}"], r"fold is 1, but folds is not set"),
        ("folds", ["data.split={}"], r"data\.split\.folds is not set"),
        ("folds", ["--fold", "3"], r"--fold is 3; accepted with 3 folds: 0 to 2"),
        ("folds", ["data.split.folds=13"], r"class plain has images of 12 patient\(s\), 24 image"),
        ("folds", ["model.options={depth: 0}"], r"model\.options\.depth is 0"),
    ],
)
def test_a_mistake_is_told_before_an_image_is_decoded(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    step: str, items: list[str], message: str,
) -> None:  # fmt: skip
    assert main([step, "--config", str(config), *items]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.rglob("*.u8"))
