"""Train, validation and test: stratified by class; a drawn one never divides a patient."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from model.manifest import ClassInfo
from train.atomic import write_csv
from train.config import SplitConfig
from train.data.sample import PARTS, Part, Sample, listed
from train.errors import DataError

_FOLDS = 20
_FEW_IMAGES, _SMALL_SHARE = 100, 0.05


def make_split(
    samples: Sequence[Sample], classes: Sequence[ClassInfo], config: SplitConfig, seed: int
) -> list[Part]:
    """Draw the part of each sample.

    The groups are dealt into small folds that keep the classes' shares, and whole folds are given
    to validation and test.

    Raises:
        DataError: a class has too few patients to be in every part.
    """
    labels = np.array([sample.label for sample in samples])
    groups = np.array([sample.group for sample in samples])
    for label, info in enumerate(classes):
        count = len(set(groups[labels == label]))
        if count < len(PARTS):
            raise DataError(
                f"class {info.key} has images of {count} patient(s); at least {len(PARTS)} are "
                f"needed, so that each of {', '.join(PARTS)} has one"
            )
    fold = _deal(labels, groups, seed)
    folds = int(fold.max()) + 1
    val = max(1, round(config.val * folds))
    test = max(1, round(config.test * folds))
    parts: list[Part] = [
        "test" if number < test else "val" if number < test + val else "train" for number in fold
    ]
    check_split(samples, classes, parts)
    return parts


def split_of_source(
    samples: Sequence[Sample], classes: Sequence[ClassInfo], config: SplitConfig, seed: int
) -> list[Part]:
    """The split that the data comes with; validation is drawn where it has none.

    Raises:
        DataError: some images have no part, or training or test has no images.
    """
    given = [sample.part for sample in samples]
    without = [sample.file for sample in samples if sample.part is None]
    if without:
        raise DataError(
            f"the data comes with a split, but {len(without)} images have no part:{listed(without)}"
        )
    for part in ("train", "test"):
        if part not in given:
            raise DataError(f"the data comes with a split that has no {part} part")
    if "val" in given and not config.redraw_val:
        parts = [part for part in given if part is not None]
    else:
        pool = [n for n, part in enumerate(given) if part != "test"]
        labels = np.array([samples[n].label for n in pool])
        groups = np.array([samples[n].group for n in pool])
        fold = _deal(labels, groups, seed)
        val = max(1, round(config.val * (int(fold.max()) + 1)))
        parts = ["test"] * len(samples)
        for position, number in zip(pool, fold, strict=True):
            parts[position] = "val" if number < val else "train"
    check_split(samples, classes, parts)
    return parts


def warning(parts: Sequence[Part]) -> str | None:
    """What is to be said about a validation split that is too small to choose an epoch by."""
    val, pool = parts.count("val"), len(parts) - parts.count("test")
    if val >= _FEW_IMAGES or val >= _SMALL_SHARE * pool:
        return None
    return (
        f"warning: val has {val} of {pool} images that are not for testing, too few to choose an "
        "epoch by (the Kaggle chest X-rays come so); data.split.redraw_val=true draws it anew"
    )


def check_split(
    samples: Sequence[Sample], classes: Sequence[ClassInfo], parts: Sequence[Part]
) -> None:
    """Refuse a split that leaves a class out of a part."""
    for label, info in enumerate(classes):
        for part in PARTS:
            pairs = zip(samples, parts, strict=True)
            if not any(s.label == label and p == part for s, p in pairs):
                raise DataError(
                    f"split: {part} has no image of class {info.key}; "
                    "try another seed, a larger share for it, or more images"
                )


def write_split(
    file: Path, samples: Sequence[Sample], classes: Sequence[ClassInfo], parts: Sequence[Part]
) -> None:
    """Save the split as CSV: file,label,patient,split."""
    rows = (
        [sample.file, classes[sample.label].key, sample.group, part]
        for sample, part in zip(samples, parts, strict=True)
    )
    write_csv(file, ["file", "label", "patient", "split"], rows)


def read_split(file: Path, samples: Sequence[Sample], classes: Sequence[ClassInfo]) -> list[Part]:
    """Read a saved split and check it against the samples.

    Raises:
        DataError: it is unreadable, or its images, labels or patients are not those of the data.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = {row["file"]: row for row in csv.DictReader(stream)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataError(f"split file {file} is unreadable: {error!r}") from error
    parts: list[Part] = []
    for sample in samples:
        row = rows.pop(sample.file, None)
        label = classes[sample.label].key
        if row is None:
            raise DataError(f"split file {file} lacks image {sample.file}")
        if (row.get("label"), row.get("patient")) != (label, sample.group):
            raise DataError(f"split file {file} has another label or patient for {sample.file}")
        part = row.get("split")
        if part not in PARTS:
            raise DataError(
                f"split file {file}: split of {sample.file} is {part!r}; "
                f"accepted: {', '.join(PARTS)}"
            )
        parts.append(part)
    if rows:
        raise DataError(f"split file {file} has image {next(iter(rows))}, which the data has not")
    check_split(samples, classes, parts)
    return parts


def digest_of_test_split(samples: Sequence[Sample], parts: Sequence[Part], fingerprint: str) -> str:
    """SHA-256 that is equal for two runs exactly when their test split is the same."""
    files = [s.file for s, part in zip(samples, parts, strict=True) if part == "test"]
    return hashlib.sha256("\n".join([fingerprint, *files]).encode()).hexdigest()


def indices(parts: Sequence[Part], part: Part) -> npt.NDArray[np.int64]:
    """Positions of the samples of one part."""
    return np.flatnonzero(np.array(parts) == part).astype(np.int64)


def _deal(
    labels: npt.NDArray[np.int64], groups: npt.NDArray[np.str_], seed: int
) -> npt.NDArray[np.int64]:
    rarest = min(len(set(groups[labels == label])) for label in set(labels.tolist()))
    splitter = StratifiedGroupKFold(min(_FOLDS, rarest), shuffle=True, random_state=seed)
    fold = np.zeros(len(labels), dtype=np.int64)
    for number, (_, members) in enumerate(splitter.split(labels, labels, groups)):
        fold[members] = number
    return fold
