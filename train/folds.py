"""Folds of a cross-validation: each image is tested in exactly one of them."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from model.manifest import ClassInfo
from train.atomic import write_csv
from train.data import Part, Sample
from train.data_config import SplitConfig
from train.errors import DataError
from train.split import check_groups, deal, read_column, with_validation

_DRAWS = 20


def check_enough(samples: Sequence[Sample], classes: Sequence[ClassInfo], folds: int) -> None:
    """Refuse a class with fewer patients than folds; needs no pixels.

    Raises:
        DataError: names the class, and how many patients it has.
    """
    # Train and val each have one while a fold is tested; half of them are, with two folds.
    needed = max(folds, 4 if folds == 2 else 3)
    purpose = f"each of the {folds} folds of data.split.folds tests one, and two are left"
    check_groups(samples, classes, needed, purpose)


def draw_folds(
    samples: Sequence[Sample], classes: Sequence[ClassInfo], folds: int, seed: int
) -> list[int]:
    """Deal the samples into folds that keep the classes' shares and divide no group.

    Raises:
        DataError: a class has too few patients for so many folds, or a few of its patients have so
            many images that some fold always goes without the class.
    """
    check_enough(samples, classes, folds)
    # Where few patients have most of a class's images, a deal may leave a fold without the class.
    for number in range(_DRAWS):
        dealt: list[int] = deal(samples, folds, seed + number).tolist()
        lacking = _lacking(samples, classes, dealt, folds)
        if lacking is None:
            return dealt
    raise DataError(
        f"data.split.folds is {folds}: in each of {_DRAWS} draws {lacking}; fewer folds are needed"
    )


def _lacking(
    samples: Sequence[Sample], classes: Sequence[ClassInfo], dealt: Sequence[int], folds: int
) -> str | None:
    """What is wrong with a deal: a class is not tested in a fold, or too little of it is left."""
    groups = defaultdict(set)
    for sample, fold in zip(samples, dealt, strict=True):
        groups[sample.label, fold].add(sample.group)
    for label, info in enumerate(classes):
        for fold in range(folds):
            if not groups[label, fold]:
                return f"a fold has no image of class {info.key}"
            if sum(len(groups[label, other]) for other in range(folds) if other != fold) < 2:
                return f"one fold leaves fewer than two patients of class {info.key} to the others"
    return None


def parts_of_fold(
    samples: Sequence[Sample],
    classes: Sequence[ClassInfo],
    folds: Sequence[int],
    config: SplitConfig,
    seed: int,
) -> list[Part]:
    """The split that tests fold `config.fold`, with validation drawn from the others.

    Raises:
        DataError: a class has too few patients in the other folds.
    """
    tested = [fold == config.fold for fold in folds]
    return with_validation(samples, classes, tested, config.val, seed)


def write_folds(
    file: Path, samples: Sequence[Sample], classes: Sequence[ClassInfo], folds: Sequence[int]
) -> None:
    """Save the folds as CSV: file,label,patient,fold."""
    rows = (
        [sample.file, classes[sample.label].key, sample.group, str(fold)]
        for sample, fold in zip(samples, folds, strict=True)
    )
    write_csv(file, ["file", "label", "patient", "fold"], rows)


def read_folds(
    file: Path, samples: Sequence[Sample], classes: Sequence[ClassInfo], folds: int
) -> list[int]:
    """Read saved folds and check them against the samples.

    Raises:
        DataError: the file is unreadable, of other data or another number of folds, or divides a
            patient.
    """
    accepted = {str(number): number for number in range(folds)}
    found = []
    home: dict[str, int] = {}
    for sample, text in zip(samples, read_column(file, "fold", samples, classes), strict=True):
        fold = accepted.get(text or "")
        if fold is None:
            raise DataError(
                f"split file {file}: fold of {sample.file} is {text!r}; accepted with "
                f"{folds} folds: 0 to {folds - 1}"
            )
        if home.setdefault(sample.group, fold) != fold:
            raise DataError(
                f"split file {file}: patient {sample.group} is in the folds {home[sample.group]} "
                f"and {fold}"
            )
        found.append(fold)
    lacking = _lacking(samples, classes, found, folds)
    if lacking is not None:
        raise DataError(f"split file {file}: {lacking}")
    return found
