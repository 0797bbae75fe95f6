"""What a source lists: a folder per class, folders of splits, or a table."""

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from model.image import SUFFIXES
from model.manifest import ClassInfo
from train.config import DataConfig
from train.data.sample import PARTS, Part, Sample, refuse
from train.data.table import read_table
from train.errors import DataError

# The names that published data sets give to the folder of a split.
_FOLDERS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def list_samples(config: DataConfig, classes: Sequence[ClassInfo]) -> list[Sample]:
    """All samples, in the order of their paths.

    Raises:
        DataError: an unknown label, a class without images, a file that is missing or listed twice.
    """
    index = {info.key: position for position, info in enumerate(classes)}
    if config.table is None:
        samples = _from_folders(config.root, index)
    else:
        samples = read_table(config.root, config.table, config.columns, index)
    if config.group_pattern is not None:
        samples = [_grouped(sample, re.compile(config.group_pattern)) for sample in samples]
    samples.sort(key=lambda sample: sample.file)
    counts = Counter(sample.file for sample in samples)
    refuse([file for file, count in counts.items() if count > 1], "listed more than once")
    files = [s.file for s in samples] + [s.mask for s in samples if s.mask]
    refuse([file for file in files if not (config.root / file).is_file()], "missing")
    present = {sample.label for sample in samples}
    empty = [key for key, position in index.items() if position not in present]
    if empty:
        raise DataError(f"no images of class {', '.join(empty)} below {config.root}")
    return samples


def _grouped(sample: Sample, pattern: re.Pattern[str]) -> Sample:
    """The sample with the group that its name tells, unless a column has told it."""
    match = pattern.search(posixpath.basename(sample.file))
    if sample.group != sample.file or match is None:
        return sample
    return replace(sample, group=match.group(1))


def _from_folders(root: Path, index: dict[str, int]) -> list[Sample]:
    parts = _split_folders(root)
    if not parts:
        return _classes_below(root, root, index, None)
    lacking = [part for part in ("train", "test") if part not in parts.values()]
    if lacking:
        found = ", ".join(folder.name for folder in parts)
        raise DataError(f"{root} has the split folders {found}, but none for {lacking[0]}")
    return [
        sample
        for folder, part in parts.items()
        for sample in _classes_below(root, folder, index, part)
    ]


def _split_folders(root: Path) -> dict[Path, Part]:
    """Folders that are splits; a class may be called `test` only where there is no `train`."""
    found = {
        folder: _FOLDERS[folder.name.lower()]
        for folder in sorted(root.iterdir())
        if folder.is_dir() and folder.name.lower() in _FOLDERS
    }
    twice = [part for part in PARTS if list(found.values()).count(part) > 1]
    if twice:
        names = ", ".join(folder.name for folder, part in found.items() if part == twice[0])
        raise DataError(f"{root} has more than one folder for {twice[0]}: {names}")
    return found if "train" in found.values() else {}


def _classes_below(
    root: Path, folder: Path, index: dict[str, int], part: Part | None
) -> list[Sample]:
    keys = {key.lower(): key for key in index}
    samples = []
    for child in sorted(each for each in folder.iterdir() if each.is_dir()):
        files = [file for file in child.rglob("*") if file.suffix.lower() in SUFFIXES]
        # The folders of one data set are not always written alike: NORMAL here, normal there.
        key = child.name if child.name in index else keys.get(child.name.lower())
        if key is None and files:
            raise DataError(
                f"folder {child} holds images, but data.classes has no class of that name; "
                f"classes: {', '.join(index)}"
            )
        if key is None:
            continue
        for file in files:
            name = file.relative_to(root).as_posix()
            # Without a patient column every image is a group of its own.
            samples.append(Sample(name, index[key], name, part=part))
    return samples
