"""Figures by slice: bands, categories, what is too small, and what is worse than the whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from model.manifest import ClassInfo
from train.assessment import Scored, assess_slices, check_slices
from train.assessment.bootstrap import Resamples
from train.assessment.schema import Slice
from train.assessment.slices import MISSING, bands_of, holm
from train.config import TrainConfig
from train.data import Sample
from train.errors import DataError
from train.reporting import SliceConfig

from .conftest import shapes_tree

CLASSES = [
    ClassInfo(key=key, name=key, description="A class.", severity="low") for key in ("a", "b")
]


def samples_of(cells: list[str], column: str = "x") -> list[Sample]:
    return [Sample(f"{n}.png", 0, str(n), metadata={column: cell}) for n, cell in enumerate(cells)]


def bands(cells: list[str], **config: Any) -> tuple[list[str], list[str]]:
    names, told = bands_of(SliceConfig(column="x", **config), samples_of(cells))
    return names, told.tolist()


def test_categories_are_slices_in_order_and_the_missing_come_last() -> None:
    assert bands(["m", "", "f", "m", "nan"]) == (
        ["f", "m", MISSING],
        ["m", MISSING, "f", "m", MISSING],
    )


def test_few_numbers_are_categories_in_their_order() -> None:
    assert bands(["10", "9", "10"])[0] == ["9", "10"]


def test_ages_are_cut_at_the_edges() -> None:
    names, told = bands(["39.9", "40", "59", "60", "unknown"], edges=[40, 60])
    assert names == ["under 40", "40 to under 60", "60 and over", MISSING]
    assert told == ["under 40", "40 to under 60", "40 to under 60", "60 and over", MISSING]


def test_many_numbers_are_cut_at_quantiles() -> None:
    names, told = bands([str(n) for n in range(100)])
    assert names == ["under 25", "25 to under 50", "50 to under 74", "74 and over"]
    assert all(20 <= told.count(name) <= 30 for name in names)
    assert len(bands([str(n) for n in range(100)], quantiles=2)[0]) == 2


def test_numbers_that_are_mostly_the_same_give_no_empty_band() -> None:
    names, told = bands(["5"] * 50 + [str(n) for n in range(20)], quantiles=10)
    assert set(names) == set(told)


def test_a_column_of_names_is_refused() -> None:
    config = [SliceConfig(column="x")]
    with pytest.raises(DataError, match="column x has 40 different values"):
        check_slices(config, samples_of([f"name {n}" for n in range(40)]))


def test_bands_of_words_are_refused() -> None:
    with pytest.raises(DataError, match=r"column x has no number .* it has: f, m"):
        check_slices([SliceConfig(column="x", edges=[1])], samples_of(["f", "m"]))


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        (["patient"], "'patient', the column of the files, labels or patients"),
        (["label"], "'label', the column of"),
        ([{"column": "age", "edges": [60, 40]}], "must ascend"),
        ([{"column": "age", "edges": [60], "quantiles": 3}], "give one"),
    ],
)
def test_slices_that_cannot_be_are_refused(tmp_path: Path, slices: list[Any], message: str) -> None:
    tree = shapes_tree(tmp_path, tmp_path / "run") | {"evaluate": {"slices": slices}}
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate(tree)


def test_slices_without_a_table_are_refused(tmp_path: Path) -> None:
    tree = shapes_tree(tmp_path, tmp_path / "run") | {"evaluate": {"slices": ["sex"]}}
    tree["data"]["table"] = None
    with pytest.raises(ValidationError, match=r"set data\.table"):
        TrainConfig.model_validate(tree)


def judged(wrong: dict[str, float], each: int = 100) -> dict[str, Slice]:
    """Slices of so many images of one patient each, of which so many are answered wrongly."""
    rng = np.random.default_rng(0)
    cells = np.repeat(list(wrong), each)
    labels = np.tile([0, 1], len(cells) // 2)
    mistaken = rng.random(len(cells)) < np.array([wrong[cell] for cell in cells])
    sure = np.where(mistaken, 0.2, 0.8)
    share = np.where(labels == 0, sure, 1.0 - sure)
    scored = Scored.of(labels, np.stack([share, 1.0 - share], axis=1))
    resamples = Resamples.draw(len(cells), 500, 0.95, seed=0)
    found = assess_slices(
        scored,
        samples_of(cells.tolist()),
        np.arange(len(cells)),
        CLASSES,
        resamples,
        [SliceConfig(column="x")],
        0.7,
        30,
    )
    return {each.value: each for each in found}


def test_a_slice_that_is_worse_than_the_whole_is_marked() -> None:
    found = judged({"good": 0.05, "fine": 0.06, "bad": 0.35})
    assert found["good"].warnings == found["fine"].warnings == []
    assert found["bad"].below_whole == pytest.approx(0.2, abs=0.07)
    assert "below that of all images" in found["bad"].warnings[0]
    assert found["bad"].p_value is not None
    assert found["bad"].p_value < 0.05


def test_slices_that_differ_by_chance_are_not_marked() -> None:
    found = judged({str(n): 0.2 for n in range(10)}, each=40)
    assert [each.value for each in found.values() if each.warnings] == []


def test_small_slices_say_so_and_tiny_ones_have_no_figures() -> None:
    assert judged({"some": 0.1}, each=20)["some"].warnings == [
        "20 images of 20 patients: too few to rely on"
    ]
    tiny = judged({"tiny": 0.0}, each=4)["tiny"]
    assert tiny.accuracy.value is None
    assert tiny.accuracy.reason == "fewer than 5 images"
    assert tiny.images == 4


def test_a_slice_of_one_class_is_compared_on_that_class() -> None:
    labels = np.repeat([0, 1], 50)
    sure = np.where(np.arange(100) % 5 == 0, 0.2, 0.8)
    share = np.where(labels == 0, 0.9, 1.0 - sure)
    scored = Scored.of(labels, np.stack([share, 1.0 - share], axis=1))
    found = assess_slices(
        scored,
        samples_of(["only b" if label else "only a" for label in labels]),
        np.arange(100),
        CLASSES,
        Resamples.draw(100, 200, 0.95, seed=0),
        [SliceConfig(column="x")],
        0.7,
        30,
    )
    by_name = {each.value: each for each in found}
    # Its recall is the whole's recall of that class, though the whole is better on average.
    assert by_name["only b"].balanced_accuracy.value == pytest.approx(0.8)
    assert by_name["only b"].below_whole == pytest.approx(0.0)
    assert by_name["only b"].warnings == []
    assert by_name["only b"].macro_auroc.reason == "one class alone occurs"


def test_holm_corrects_for_the_number_of_slices() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
