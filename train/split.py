"""Train, validation and test: stratified by class; a drawn one never divides a patient."""

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from model.manifest import ClassInfo
from train.atomic import write_csv
from train.data.sample import PARTS, Part, Sample, listed
from train.data_config import SplitConfig
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
    check_groups(samples, classes, len(PARTS), "train, val and test each have one")
    fold = deal(samples, _few(samples), seed)
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
        DataError: some images have no part, or a part lacks a class.
    """
    check_source(samples, classes, config)
    given = [sample.part for sample in samples]
    if "val" in given and not config.redraw_val:
        return [part for part in given if part is not None]
    return with_validation(samples, classes, [part == "test" for part in given], config.val, seed)


def with_validation(
    samples: Sequence[Sample],
    classes: Sequence[ClassInfo],
    tested: Sequence[bool],
    share: float,
    seed: int,
) -> list[Part]:
    """Draw validation out of all that is not for testing.

    Args:
        samples: N samples.
        classes: K classes.
        tested: which samples are the test part, [N].
        share: of validation in the others.
        seed: decides the draw.

    Raises:
        DataError: a class has too few patients outside of the test part.
    """
    pool = [position for position, test in enumerate(tested) if not test]
    left = [samples[position] for position in pool]
    check_groups(left, classes, 2, "train and val each have one")
    fold = deal(left, _few(left), seed)
    val = max(1, round(share * (int(fold.max()) + 1)))
    parts: list[Part] = ["test"] * len(samples)
    for position, number in zip(pool, fold, strict=True):
        parts[position] = "val" if number < val else "train"
    check_split(samples, classes, parts)
    return parts


def check_source(
    samples: Sequence[Sample], classes: Sequence[ClassInfo], config: SplitConfig
) -> None:
    """Refuse a split of the data's own that cannot be trained with; needs no pixels.

    Raises:
        DataError: some images have no part, or a part lacks a class.
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
    drawn = "val" not in given or config.redraw_val
    # What was said to be val may become training images and the other way round.
    known: list[Part] = [
        "train" if drawn and part == "val" else part for part in given if part is not None
    ]
    check_split(samples, classes, known, ("train", "test") if drawn else PARTS)
    if drawn:
        left = [sample for sample in samples if sample.part != "test"]
        check_groups(left, classes, 2, "train and val each have one")


def check_groups(
    samples: Sequence[Sample], classes: Sequence[ClassInfo], needed: int, purpose: str
) -> None:
    """Refuse a class that has too few patients to be divided.

    Raises:
        DataError: names the class, how many it has, and what they are needed for.
    """
    groups = defaultdict(set)
    for sample in samples:
        groups[sample.label].add(sample.group)
    images = Counter(sample.label for sample in samples)
    for label, info in enumerate(classes):
        if len(groups[label]) < needed:
            raise DataError(
                f"class {info.key} has images of {len(groups[label])} patient(s), {images[label]} "
                f"image(s) in all; at least {needed} patients are needed, so that {purpose}"
            )


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
    samples: Sequence[Sample],
    classes: Sequence[ClassInfo],
    parts: Sequence[Part],
    needed: Sequence[Part] = PARTS,
) -> None:
    """Refuse a split that leaves a class out of a part."""
    found = {(sample.label, part) for sample, part in zip(samples, parts, strict=True)}
    for label, info in enumerate(classes):
        for part in needed:
            if (label, part) not in found:
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
    parts: list[Part] = []
    for sample, part in zip(samples, read_column(file, "split", samples, classes), strict=True):
        if part not in PARTS:
            raise DataError(
                f"split file {file}: split of {sample.file} is {part!r}; "
                f"accepted: {', '.join(PARTS)}"
            )
        parts.append(part)
    check_split(samples, classes, parts)
    return parts


def read_column(
    file: Path, column: str, samples: Sequence[Sample], classes: Sequence[ClassInfo]
) -> list[str | None]:
    """What a CSV file with the columns file,label,patient says of each sample in another one.

    Raises:
        DataError: it is unreadable, or its images, labels or patients are not those of the data.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = {row["file"]: row for row in csv.DictReader(stream)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataError(f"split file {file} is unreadable: {error!r}") from error
    values = []
    for sample in samples:
        row = rows.pop(sample.file, None)
        label = classes[sample.label].key
        if row is None:
            raise DataError(f"split file {file} lacks image {sample.file}")
        if (row.get("label"), row.get("patient")) != (label, sample.group):
            raise DataError(f"split file {file} has another label or patient for {sample.file}")
        values.append(row.get(column))
    if rows:
        raise DataError(f"split file {file} has image {next(iter(rows))}, which the data has not")
    return values


def digest_of_test_split(samples: Sequence[Sample], parts: Sequence[Part], fingerprint: str) -> str:
    """SHA-256 that is equal for two runs exactly when their test split is the same."""
    files = [s.file for s, part in zip(samples, parts, strict=True) if part == "test"]
    return hashlib.sha256("\n".join([fingerprint, *files]).encode()).hexdigest()


def indices(parts: Sequence[Part], part: Part) -> npt.NDArray[np.int64]:
    """Positions of the samples of one part."""
    return np.flatnonzero(np.array(parts) == part).astype(np.int64)


def deal(samples: Sequence[Sample], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Deal the groups into folds that keep the classes' shares; the fold of each sample, [N]."""
    labels = np.array([sample.label for sample in samples])
    groups = np.array([sample.group for sample in samples])
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold = np.zeros(len(labels), dtype=np.int64)
    for number, (_, members) in enumerate(splitter.split(labels, labels, groups)):
        fold[members] = number
    return fold


def _few(samples: Sequence[Sample]) -> int:
    """As many small folds as the class with the fewest patients can be in."""
    groups = defaultdict(set)
    for sample in samples:
        groups[sample.label].add(sample.group)
    return min(_FOLDS, *(len(each) for each in groups.values()))
