"""What a source lists: a folder per class, folders of splits, or a table."""

import difflib
import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from model.image import SUFFIXES
from model.manifest import ClassInfo
from train.data.folder import Folder, open_file
from train.data.sample import PARTS, Part, Sample, is_image, refuse
from train.data.table import read_table
from train.data_config import DataConfig
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


def list_samples(config: DataConfig, classes: Sequence[ClassInfo], folder: Folder) -> list[Sample]:
    """All samples, in the order of their paths; no image is read, and none is fetched.

    Raises:
        DataError: an unknown label, a class without images, a file that is missing or listed twice.
    """
    index = {info.key: position for position, info in enumerate(classes)}
    if config.table is None:
        samples = _from_folders(folder, index)
    else:
        table = open_file(config, config.table, folder, "data.table")
        samples = read_table(folder, table, config.columns, index)
    if config.group_pattern is not None:
        samples = [_grouped(sample, re.compile(config.group_pattern)) for sample in samples]
    samples.sort(key=lambda sample: sample.file)
    counts = Counter(sample.file for sample in samples)
    refuse([file for file, count in counts.items() if count > 1], "listed more than once")
    files = [s.file for s in samples] + [s.mask for s in samples if s.mask]
    refuse([file for file in files if not folder.has(file)], "missing")
    present = {sample.label for sample in samples}
    empty = [key for key, position in index.items() if position not in present]
    if empty:
        raise DataError(
            f"no images of class {', '.join(empty)} below {config.address}{_hint(config, folder)}"
        )
    return samples


def _hint(config: DataConfig, folder: Folder) -> str:
    """Why images may be there and not be seen."""
    if config.table is not None:
        return ""
    bare = sum("." not in posixpath.basename(name) for name in folder.names())
    if not bare:
        return ""
    return (
        f"; {bare} files have no suffix, as on DICOM media beside a DICOMDIR: images are found by "
        f"theirs ({', '.join(SUFFIXES)}), or are listed by data.table"
    )


def _grouped(sample: Sample, pattern: re.Pattern[str]) -> Sample:
    """The sample with the group that its name tells, unless a column has told it."""
    match = pattern.search(posixpath.basename(sample.file))
    if sample.group != sample.file or match is None:
        return sample
    return replace(sample, group=match.group(1))


def _from_folders(folder: Folder, index: dict[str, int]) -> list[Sample]:
    files = [name for name in folder.names() if is_image(name)]
    parts = _split_folders(folder, files)
    if not parts:
        return _classes_below(folder, files, index, {})
    lacking = [part for part in ("train", "test") if part not in parts.values()]
    if lacking:
        found = ", ".join(parts)
        raise DataError(
            f"{folder.address} has the split folders {found}, but none for {lacking[0]}"
        )
    return _classes_below(folder, files, index, parts)


def _split_folders(folder: Folder, files: Sequence[str]) -> dict[str, Part]:
    """Folders that are splits; a class may be called `test` only where there is no `train`."""
    names = sorted({file.split("/", 1)[0] for file in files if "/" in file})
    found = {name: _FOLDERS[name.lower()] for name in names if name.lower() in _FOLDERS}
    twice = [part for part in PARTS if list(found.values()).count(part) > 1]
    if twice:
        several = ", ".join(name for name, part in found.items() if part == twice[0])
        raise DataError(f"{folder.address} has more than one folder for {twice[0]}: {several}")
    return found if "train" in found.values() else {}


def _classes_below(
    folder: Folder, files: Sequence[str], index: dict[str, int], parts: dict[str, Part]
) -> list[Sample]:
    """The images of each class; where there are `parts`, only what is below these folders."""
    keys = {key.lower(): key for key in index}
    samples = []
    for name in files:
        part, inner = None, name
        if parts:
            top, _, inner = name.partition("/")
            part = parts.get(top)
            if part is None:
                continue
        child, slash, _ = inner.partition("/")
        if not slash:
            continue
        # The folders of one data set are not always written alike: NORMAL here, normal there.
        key = child if child in index else keys.get(child.lower())
        if key is None:
            place = f"{folder.address}/{name[: len(name) - len(inner)]}{child}"
            near = difflib.get_close_matches(child.lower(), keys, n=1)
            hint = f"did you mean {keys[near[0]]}? " if near else ""
            raise DataError(
                f"folder {place} holds images, but data.classes has no class of that name; "
                f"{hint}classes: {', '.join(index)}"
            )
        # Without a patient column every image is a group of its own.
        samples.append(Sample(name, index[key], name, part=part))
    return samples
