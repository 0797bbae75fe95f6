"""The parts of a data set: drawn, given by its source, or read from a file; checked for leakage."""

from collections.abc import Sequence
from dataclasses import dataclass

from model.manifest import ClassInfo
from train.data import Dataset, Part, Sample
from train.data.sample import PARTS
from train.data_config import SplitConfig
from train.errors import ConfigError, DataError
from train.folds import check_enough, draw_folds, parts_of_fold, read_folds, write_folds
from train.leakage import (
    Duplicates,
    Leakage,
    check_leakage,
    divided_groups,
    find_leakage,
    keep_together,
)
from train.split import check_groups, check_source, make_split, read_split, split_of_source


@dataclass(frozen=True)
class Partition:
    """The part of each of N samples.

    Attributes:
        parts: train, val or test, [N].
        leakage: what was found and allowed.
        folds: in a cross-validation, the fold that each is tested in, [N].
    """

    parts: list[Part]
    leakage: Leakage
    folds: list[int] | None = None


def check_config(config: SplitConfig) -> None:
    """Refuse settings that no data could be split by.

    Raises:
        ConfigError: one fold has to be chosen, or the file to be reused is missing.
    """
    if config.folds is not None and config.fold is None:
        raise ConfigError(
            f"config field data.split.folds is {config.folds}, but data.split.fold is not set; "
            f"accepted: 0 to {config.folds - 1}; `python -m train folds` trains all of them"
        )
    # A file of folds is drawn and written where it does not exist yet.
    if config.file is not None and config.folds is None and not config.file.is_file():
        raise ConfigError(f"config field data.split.file is {config.file}, which does not exist")


def check_samples(
    samples: Sequence[Sample], classes: Sequence[ClassInfo], config: SplitConfig
) -> None:
    """Refuse what labels and groups alone show to be impossible, before an image is read.

    Raises:
        DataError: a class is in too few groups or not in every part, or the data's own split
            divides groups.
    """
    if config.file is not None and config.file.is_file():
        return  # it is read when it is known which images are none
    if config.folds is not None:
        check_enough(samples, classes, config.folds)
    elif any(sample.part for sample in samples):
        check_source(samples, classes, config)
        if "groups" not in config.allow:
            known = [sample.part or "train" for sample in samples]
            if config.redraw_val:
                known = ["test" if part == "test" else "train" for part in known]
            empty = Leakage(exact_duplicates=[], near_duplicates=[], contradictions=[], groups=[])
            divided = divided_groups(samples, known)
            check_leakage(empty.model_copy(update={"groups": divided}), config.allow)
    else:
        check_groups(samples, classes, len(PARTS), "train, val and test each have one")


def partition(data: Dataset, config: SplitConfig, seed: int) -> Partition:
    """Split the data as configured; in what is drawn here, copies stay with their original.

    Raises:
        DataError: it cannot be split so, or there is leakage that is not allowed.
    """
    duplicates = Duplicates(data)
    together = keep_together(data.samples, duplicates.all)
    folds = None
    if config.folds is not None:
        folds = _folds(data, together, config, config.folds, seed)
        parts = parts_of_fold(together, data.classes, folds, config, seed)
    elif config.file is not None:
        parts = read_split(config.file, data.samples, data.classes)
    elif any(sample.part for sample in data.samples):
        parts = split_of_source(together, data.classes, config, seed)
    else:
        parts = make_split(together, data.classes, config, seed)
    leakage = find_leakage(data, parts, duplicates)
    check_leakage(leakage, config.allow)
    return Partition(parts, leakage, folds)


def _folds(
    data: Dataset, together: Sequence[Sample], config: SplitConfig, count: int, seed: int
) -> list[int]:
    if config.file is not None and config.file.is_file():
        return read_folds(config.file, data.samples, data.classes, count)
    folds = draw_folds(together, data.classes, count, seed)
    if config.file is not None:
        try:
            write_folds(config.file, data.samples, data.classes, folds)
        except OSError as error:
            raise DataError(f"data.split.file {config.file} cannot be written: {error}") from error
    return folds
