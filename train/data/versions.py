"""Versions of a data set: the list of its files, kept with every run, and what changed since."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from train.atomic import write_csv
from train.data.dataset import Dataset
from train.errors import DataError

FILES = "data.csv"
_COLUMNS = ("file", "label", "patient", "sha256")


class Entry(NamedTuple):
    """What the figures of a run depend on in one image."""

    label: str
    patient: str
    sha256: str


class Changes(BaseModel):
    """What is different in a later version of a data set, by file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    added: list[str]
    removed: list[str]
    renamed: list[str]
    pixels: list[str]
    labels: list[str]
    patients: list[str]

    def __str__(self) -> str:
        lines = [
            f"{len(files)} {what}" + "".join(f"\n  {file}" for file in files)
            for what, files in (
                ("added", self.added),
                ("removed", self.removed),
                ("renamed, with the same bytes", self.renamed),
                ("with other bytes", self.pixels),
                ("with another label", self.labels),
                ("with another patient", self.patients),
            )
            if files
        ]
        return "\n".join(lines) or "no difference"


def write_files(file: Path, data: Dataset) -> None:
    """Write the list of a data set's files as CSV: file,label,patient,sha256."""
    rows = (
        [sample.file, data.classes[sample.label].key, sample.group, digest]
        for sample, digest in zip(data.samples, data.hashes, strict=True)
    )
    write_csv(file, _COLUMNS, rows)


def read_files(path: Path) -> dict[str, Entry]:
    """Read a list of files, or that of a run directory.

    Raises:
        DataError: it is unreadable or no such list.
    """
    file = path / FILES if path.is_dir() else path
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if tuple(reader.fieldnames or ()) != _COLUMNS:
                found = ",".join(reader.fieldnames or ())
                raise DataError(f"{file} has the columns {found}; expected {','.join(_COLUMNS)}")
            return {row["file"]: Entry(*(row[c] or "" for c in _COLUMNS[1:])) for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is unreadable: {error}") from error


def compare(before: dict[str, Entry], after: dict[str, Entry]) -> Changes:
    """What has to be done to the files of `before` to get those of `after`."""
    added, removed = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    places = {before[file].sha256: file for file in removed}
    renamed = {file: places.pop(after[file].sha256, None) for file in added}
    moved = {old: new for new, old in renamed.items() if old is not None}
    both = sorted(before.keys() & after.keys())
    # A file that has moved may have got another label or patient on the way.
    pairs = [(f"{old} -> {new}", before[old], after[new]) for old, new in moved.items()]
    pairs += [(file, before[file], after[file]) for file in both]
    return Changes(
        added=[file for file in added if renamed[file] is None],
        removed=[file for file in removed if file not in moved],
        renamed=[f"{old} -> {new}" for old, new in moved.items()],
        pixels=[name for name, old, new in pairs if old.sha256 != new.sha256],
        labels=_changed(pairs, "label"),
        patients=_changed(pairs, "patient"),
    )


def _changed(pairs: Sequence[tuple[str, Entry, Entry]], field: str) -> list[str]:
    return [
        f"{name}: {getattr(old, field)} -> {getattr(new, field)}"
        for name, old, new in pairs
        if getattr(old, field) != getattr(new, field)
    ]
