from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.manifest import ClassInfo
from train.data.sample import PARTS, Sample
from train.data_config import SplitConfig
from train.errors import DataError
from train.split import (
    digest_of_test_split,
    indices,
    make_split,
    read_split,
    write_split,
)

CLASSES = [
    ClassInfo(key=key, name=key, description=key, severity="none") for key in ("a", "b", "c")
]


def samples(patients: int = 40, images: int = 3) -> list[Sample]:
    return [
        Sample(f"{label}-{patient}-{image}.png", label, f"{label}-{patient}")
        for label in range(3)
        for patient in range(patients * (label + 1) // 2)
        for image in range(1 + patient % images)
    ]


def test_no_patient_is_divided() -> None:
    all_samples = samples()
    parts = make_split(all_samples, CLASSES, SplitConfig(), seed=0)
    homes: dict[str, set[str]] = {}
    for sample, part in zip(all_samples, parts, strict=True):
        homes.setdefault(sample.group, set()).add(part)
    assert all(len(home) == 1 for home in homes.values())


def test_shares_are_kept_in_every_class() -> None:
    all_samples = samples()
    parts = make_split(all_samples, CLASSES, SplitConfig(val=0.2, test=0.1), seed=0)
    for label in range(3):
        mine = [p for s, p in zip(all_samples, parts, strict=True) if s.label == label]
        assert mine.count("val") / len(mine) == pytest.approx(0.2, abs=0.06)
        assert mine.count("test") / len(mine) == pytest.approx(0.1, abs=0.06)


def test_the_seed_decides() -> None:
    all_samples = samples()
    first = make_split(all_samples, CLASSES, SplitConfig(), seed=0)
    assert make_split(all_samples, CLASSES, SplitConfig(), seed=0) == first
    assert make_split(all_samples, CLASSES, SplitConfig(), seed=1) != first


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 30), st.integers(1, 6), st.integers(0, 5))
def test_every_class_is_in_every_part(patients: int, images: int, seed: int) -> None:
    all_samples = [
        Sample(f"{label}-{patient}-{image}", label, f"{label}-{patient}")
        for label in range(3)
        for patient in range(patients)
        for image in range(images)
    ]
    parts = make_split(all_samples, CLASSES, SplitConfig(), seed)
    found = {(s.label, p) for s, p in zip(all_samples, parts, strict=True)}
    assert found == {(label, part) for label in range(3) for part in PARTS}


def test_a_patient_under_two_labels_is_kept_together() -> None:
    all_samples = [*samples(), Sample("x.png", 0, "2-5"), Sample("y.png", 1, "2-5")]
    parts = make_split(all_samples, CLASSES, SplitConfig(), seed=0)
    assert len({p for s, p in zip(all_samples, parts, strict=True) if s.group == "2-5"}) == 1


def test_too_few_patients_are_named() -> None:
    few = [s for s in samples() if s.label != 1 or s.group in ("1-0", "1-1")]
    with pytest.raises(DataError, match=r"class b .* 2 patient\(s\), 3 image\(s\).* at least 3"):
        make_split(few, CLASSES, SplitConfig(), seed=0)


def test_a_saved_split_is_read_back(tmp_path: Path) -> None:
    all_samples = samples()
    parts = make_split(all_samples, CLASSES, SplitConfig(), seed=0)
    write_split(tmp_path / "split.csv", all_samples, CLASSES, parts)
    assert read_split(tmp_path / "split.csv", all_samples, CLASSES) == parts


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0-0-0.png,a,0-0,", "0-0-9.png,a,0-0,", r"lacks image 0-0-0\.png"),
        ("0-0-0.png,a,", "0-0-0.png,b,", r"another label or patient for 0-0-0\.png"),
        ("0-0-0.png,a,0-0,", "0-0-0.png,a,0-9,", r"another label or patient"),
        ("0-0-0.png,a,0-0,train", "0-0-0.png,a,0-0,spare", r"is 'spare'; accepted: train, val"),
        ("0-1-0.png,a,0-1,train", "0-1-0.png,a,0-1,val", r"test has no image of class a"),
    ],
)
def test_a_split_of_other_data_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    all_samples = samples()
    file = tmp_path / "split.csv"
    write_split(file, all_samples, CLASSES, ["train"] * len(all_samples))
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_split(file, all_samples, CLASSES)


def test_a_split_with_more_images_is_refused(tmp_path: Path) -> None:
    all_samples = samples()
    parts = make_split(all_samples, CLASSES, SplitConfig(), seed=0)
    write_split(tmp_path / "split.csv", all_samples, CLASSES, parts)
    with pytest.raises(DataError, match="which the data has not"):
        read_split(tmp_path / "split.csv", all_samples[1:], CLASSES)


def test_a_part_without_a_class_is_refused(tmp_path: Path) -> None:
    all_samples = samples()
    write_split(tmp_path / "split.csv", all_samples, CLASSES, ["train"] * len(all_samples))
    with pytest.raises(DataError, match="val has no image of class a"):
        read_split(tmp_path / "split.csv", all_samples, CLASSES)


def test_the_digest_depends_on_the_test_images_alone() -> None:
    all_samples = samples()
    parts = make_split(all_samples, CLASSES, SplitConfig(), seed=0)
    same = ["val" if part == "train" else part for part in parts]
    other = ["train" if part == "test" else part for part in parts]
    digest = digest_of_test_split(all_samples, parts, "f")
    assert digest_of_test_split(all_samples, same, "f") == digest
    assert digest_of_test_split(all_samples, other, "f") != digest
    assert digest_of_test_split(all_samples, parts, "g") != digest


def test_indices_are_those_of_the_part() -> None:
    assert indices(["train", "val", "train", "test"], "train").tolist() == [0, 2]
