"""Tables of images: CSV or Parquet, with columns by any name."""

import csv
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from train.data.folder import Folder
from train.data.sample import PARTS, Sample, is_image, listed
from train.data_config import ColumnsConfig
from train.errors import DataError

# Columns of the group, the mask and the split where none is named.
_USUAL = ("patient", "mask", "split")

Row = tuple[str, dict[str, str]]


def read_table(
    folder: Folder, path: Path, columns: ColumnsConfig, index: dict[str, int]
) -> list[Sample]:
    """The samples that a table lists.

    A file is a path relative to the root, or its name without folder and suffix, as HAM10000's
    metadata has it (https://doi.org/10.7910/DVN/DBW86T): such a name is looked for below the root.

    Args:
        folder: of the images.
        path: of the CSV or Parquet file.
        columns: names of the columns.
        index: classes by key.

    Raises:
        DataError: the table is unreadable, lacks a column, or has a wrong cell; names its line.
    """
    rows = _parquet(path, columns) if path.suffix == ".parquet" else _csv(path, columns)
    return _found(folder, [_sample(cells, columns, index, where) for where, cells in rows])


def _csv(path: Path, columns: ColumnsConfig) -> Iterator[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            wanted = _wanted(path, columns, reader.fieldnames or [])
            for row in reader:
                cells = {column: (row[column] or "").strip() for column in wanted}
                # A quoted cell may span lines, so rows are not counted.
                yield f"{path}, line {reader.line_num}", cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.table: {path} is unreadable: {error}") from error


def _parquet(path: Path, columns: ColumnsConfig) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        wanted = _wanted(path, columns, parquet.read_schema(path).names)
        rows: list[dict[str, Any]] = parquet.read_table(path, columns=wanted).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"data.table: {path} is unreadable: {error}") from error
    for number, row in enumerate(rows):
        cells = {key: "" if value is None else str(value).strip() for key, value in row.items()}
        yield f"{path}, row {number}", cells


def _wanted(path: Path, columns: ColumnsConfig, present: Iterable[str]) -> list[str]:
    present = list(present)
    named = [columns.file, columns.label, columns.group, columns.mask, columns.split]
    needed = [name for name in (*named, *columns.metadata) if name is not None]
    missing = [name for name in needed if name not in present]
    if missing:
        raise DataError(
            f"{path} lacks column {', '.join(missing)}; it has: {', '.join(present)} "
            "(data.columns says which are read)"
        )
    return list(dict.fromkeys([*needed, *(name for name in _USUAL if name in present)]))


def _sample(
    cells: dict[str, str], columns: ColumnsConfig, index: dict[str, int], where: str
) -> Sample:
    file, label = cells[columns.file], cells[columns.label]
    if not file:
        raise DataError(f"{where}: {columns.file} is empty")
    if label not in index:
        raise DataError(f"{where}: {columns.label} is {label!r}; accepted: {', '.join(index)}")
    group, mask, part = (
        cells.get(named or usual, "")
        for named, usual in zip((columns.group, columns.mask, columns.split), _USUAL, strict=True)
    )
    if part and part not in PARTS:
        raise DataError(f"{where}: split is {part!r}; accepted: {', '.join(PARTS)}")
    # Written in two ways, one file would pass for two images.
    file = posixpath.normpath(file)
    return Sample(
        file,
        index[label],
        group or file,
        mask or None,
        part or None,
        {name: cells[name] for name in columns.metadata},
    )


def _found(folder: Folder, samples: list[Sample]) -> list[Sample]:
    """The same samples, with bare names replaced by the paths of their files."""
    bare = {s.file for s in samples if "." not in posixpath.basename(s.file)}
    bare = {file for file in bare if not folder.has(file)}
    if not bare:
        return samples
    places = defaultdict(list)
    for file in sorted(folder.names()):
        stem = PurePosixPath(file).stem
        if stem in bare and is_image(file):
            places[stem].append(file)
    several = [name for name in sorted(bare) if len(places[name]) > 1]
    if several:
        lines = [f"{name}: {', '.join(places[name])}" for name in several]
        raise DataError(f"{len(lines)} names fit several files:{listed(lines)}")
    return [_placed(s, places[s.file][0]) if places.get(s.file) else s for s in samples]


def _placed(sample: Sample, file: str) -> Sample:
    return replace(sample, file=file, group=file if sample.group == sample.file else sample.group)
