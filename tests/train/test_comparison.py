"""Runs side by side: differences that are there are found, and those that are noise are not."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from tests.train.test_report import Page
from train.__main__ import main
from train.assessment import Scored
from train.comparison.compare import letter
from train.comparison.paired import config_differences, joined, pair, sign_flips
from train.comparison.schema import Comparison, Paired
from train.predictions import Predictions, read_predictions, write_predictions

from .conftest import shapes_tree
from .seen import store_id_of

KEYS = ["a", "b", "c"]


def predictions(right: float, count: int = 300, seed: int = 0, *, each: int = 1) -> Predictions:
    """So large a share of right answers, each image with an id of its own."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    hits = np.random.default_rng(seed + 1).random(count) < right
    given = np.where(hits, labels, (labels + 1) % 3)
    share = np.full((count, 3), 0.1)
    share[np.arange(count), given] = 0.8
    scored = Scored.of(labels, share, [str(n // each) for n in range(count)])
    return Predictions([f"{n:064x}" for n in range(count)], KEYS, scored)


def paired(first: Predictions, other: Predictions, confidence: float = 0.95) -> Paired:
    found = pair(first, other, (0.7, 0.7), 500, confidence, seed=0)
    assert isinstance(found, Paired)
    return found


def test_a_clear_difference_is_more_than_noise() -> None:
    found = paired(predictions(0.7), predictions(0.9, seed=1))
    for name in ("macro_f1", "accuracy", "brier", "log_loss"):
        assert found.overall[name].verdict == "better", name
    assert found.overall["coverage"].verdict == "no difference beyond noise"
    assert found.overall["accuracy"].difference.value == pytest.approx(
        (found.overall["accuracy"].other or 0) - (found.overall["accuracy"].first or 0)
    )
    turned = paired(predictions(0.9, seed=1), predictions(0.7))
    for name in ("macro_f1", "accuracy", "brier", "log_loss"):
        assert turned.overall[name].verdict == "worse", name


def test_a_difference_by_chance_is_noise() -> None:
    found = paired(predictions(0.8), predictions(0.8, seed=5))
    assert found.overall["macro_f1"].verdict == "no difference beyond noise"
    assert found.accuracy_test.p_value > 0.05


def test_a_run_is_as_good_as_itself() -> None:
    found = paired(predictions(0.8), predictions(0.8))
    assert found.overall["macro_f1"].difference.value == 0.0
    assert found.overall["macro_f1"].verdict == "no difference beyond noise"
    assert found.accuracy_test.p_value == 1.0


def test_pairing_sees_what_single_intervals_do_not() -> None:
    first = predictions(0.8)
    share = first.scored.probabilities.copy()
    mended = np.flatnonzero(~first.scored.correct)[:12]
    share[mended] = 0.1
    share[mended, first.scored.labels[mended]] = 0.8
    scored = Scored(first.scored.labels, share, first.scored.groups)
    found = paired(first, Predictions(first.images, KEYS, scored))
    assert found.overall["macro_f1"].verdict == "better"
    assert found.accuracy_test.p_value == pytest.approx(2 * 0.5**12)


def test_order_of_images_and_classes_means_nothing() -> None:
    first, other = predictions(0.7), predictions(0.9, seed=1)
    rows, columns = np.random.default_rng(3).permutation(300), [2, 0, 1]
    shuffled = Predictions(
        [other.images[row] for row in rows],
        [KEYS[column] for column in columns],
        Scored(
            np.argsort(columns)[other.scored.labels[rows]],
            other.scored.probabilities[rows][:, columns],
            other.scored.groups[rows],
        ),
    )
    assert paired(first, shuffled) == paired(first, other)


def test_only_common_images_with_the_same_label_are_compared() -> None:
    first, other = predictions(0.7), predictions(0.9, seed=1)
    labels = other.scored.labels.copy()
    labels[:5] = (labels[:5] + 1) % 3
    some = Scored(labels, other.scored.probabilities, other.scored.groups).only(np.arange(200))
    found = paired(first, Predictions(other.images[:200], KEYS, some))
    assert (found.images, found.other_labels, found.same_test_images) == (195, 5, False)


def test_what_cannot_be_paired_says_why() -> None:
    first = predictions(0.7)
    renamed = Predictions(first.images, ["a", "b", "x"], first.scored)
    assert pair(first, renamed, (0.7, 0.7), 100, 0.95, 0) == "other classes: a, b, c and a, b, x"
    elsewhere = Predictions([f"x{image}" for image in first.images], KEYS, first.scored)
    assert "0 common test images" in str(pair(first, elsewhere, (0.7, 0.7), 100, 0.95, 0))


def test_patients_of_either_run_are_kept_together() -> None:
    assert joined(np.array([0, 0, 1, 2]), np.array([5, 6, 6, 7])).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(("gains", "losses"), [(9, 2), (5, 5), (1, 0), (30, 14)])
def test_with_one_image_per_patient_the_test_is_mcnemars(gains: int, losses: int) -> None:
    count = gains + losses + 20
    labels = np.zeros(count, np.int64)
    wrong, right = np.array([0.2, 0.8]), np.array([0.8, 0.2])
    first = np.tile(right, (count, 1))
    other = np.tile(right, (count, 1))
    first[:gains] = wrong
    other[gains : gains + losses] = wrong
    found = sign_flips(Scored.of(labels, first), Scored.of(labels, other))
    assert (found.only_other_right, found.only_first_right) == (gains, losses)
    assert found.unit == "image"
    assert found.p_value == pytest.approx(stats.binomtest(gains, gains + losses).pvalue)


def test_images_of_one_patient_count_once() -> None:
    labels = np.zeros(12, np.int64)
    first = np.tile([0.2, 0.8], (12, 1))
    other = np.tile([0.8, 0.2], (12, 1))
    patients = [str(n // 4) for n in range(12)]
    found = sign_flips(Scored.of(labels, first, patients), Scored.of(labels, other, patients))
    # Three patients, each of whom may go either way: 2 of 8 are as extreme.
    assert found.p_value == pytest.approx(0.25)
    assert found.unit == "patient"


def test_settings_that_differ_are_listed() -> None:
    found = config_differences([{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}])
    assert found == {"b": [2, 3], "c": [None, 4]}


def test_letters_do_not_run_out() -> None:
    assert [letter(n) for n in (0, 25, 26, 52)] == ["A", "Z", "AA", "BA"]


def test_predictions_come_back_as_they_were(tmp_path: Path) -> None:
    before = predictions(0.8, each=3)
    write_predictions(tmp_path / "p.csv", before.images, KEYS, before.scored)
    after = read_predictions(tmp_path / "p.csv")
    assert (after.images, after.keys) == (before.images, before.keys)
    assert np.array_equal(after.scored.probabilities, before.scored.probabilities)
    assert np.array_equal(after.scored.labels, before.scored.labels)
    assert np.array_equal(after.scored.groups, before.scored.groups)


@pytest.fixture(scope="module")
def runs(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs on the same data, the second trained for longer."""
    root = tmp_path_factory.mktemp("runs")
    made = []
    for name, epochs in (("short", 1), ("long", 12)):
        tree = shapes_tree(shapes, root / name)
        tree["loop"]["epochs"] = epochs
        tree["data"]["split"] = {"test": 0.4}
        tree["evaluate"] = {"resamples": 100}
        tree["tracking"]["uri"] = f"sqlite:///{root / 'mlflow.db'}"
        (root / f"{name}.yaml").write_text(yaml.safe_dump(tree))
        assert main(["fit", "--config", str(root / f"{name}.yaml")]) == 0
        assert main(["evaluate", "--run", str(root / name)]) == 0
        made.append(root / name)
    return made


def test_runs_are_compared_in_the_terminal_on_a_page_and_as_json(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, data = tmp_path / "compare.html", tmp_path / "compare.json"
    options = ["--html", str(page), "--json", str(data), "--resamples", "300"]
    assert main(["compare", *map(str, runs), *options]) == 0
    told = capsys.readouterr().out
    assert "A: short" in told
    assert "B: long" in told
    assert "B is better than A by macro-F1 +" in told
    assert "more than noise" in told
    assert "data: the same" in told
    assert "loop.epochs" in told
    found = Comparison.model_validate_json(data.read_text())
    second = found.runs[1].paired
    assert second is not None
    assert second.same_test_images
    assert second.accuracy_test.unit == "patient"
    assert found.config["loop.epochs"] == [1, 12]
    text = Page(page.read_text()).text
    assert found.runs[1].verdict in text
    assert "loop.epochs" in text
    for word in ("<script", "http:", "https:", str(runs[0].parent)):
        assert word not in page.read_text()


def test_mlflow_runs_are_compared_as_their_directories_are(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [store_id_of(run) for run in runs]
    store = f"sqlite:///{runs[0].parent / 'mlflow.db'}"
    found = []
    for name, each in (("ids", [*ids, "--tracking_uri", store]), ("paths", list(map(str, runs)))):
        file = tmp_path / f"{name}.json"
        assert main(["compare", *each, "--json", str(file), "--resamples", "100"]) == 0
        found.append(Comparison.model_validate_json(file.read_text()).runs[1])
    assert found[0].where == ids[1]
    assert found[0].model_copy(update={"where": "long"}) == found[1]


def test_runs_that_cannot_be_compared_are_named(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(runs[0])]) == 2
    assert "at least two are needed" in capsys.readouterr().err
    assert main(["compare", str(runs[0]), str(tmp_path / "nowhere")]) == 2
    assert "neither a run directory nor the id of an MLflow run" in capsys.readouterr().err
    (tmp_path / "fitted").mkdir()
    assert main(["compare", str(runs[0]), str(tmp_path / "fitted")]) == 2
    assert "fitted has no evaluation.json; `python -m train evaluate`" in capsys.readouterr().err


def test_predictions_name_no_patient(runs: list[Path]) -> None:
    with (runs[0] / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) > 10
    assert all(len(row["image"]) == 64 and row["patient"].isdigit() for row in rows)
