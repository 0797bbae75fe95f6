"""Rows kept so that a run may end at any moment, and the finished table.

Rows are collected in a folder beside the output, in parts that are there whole or not at all. The
next run skips what they hold, but for failures that may pass: those are forgotten. When nothing is
left they become the output, which takes its name only when it is complete.
"""

import contextlib
import csv
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from model.errors import image_reasons
from predictor.errors import StartError

Row = dict[str, Any]

FORMATS = (".csv", ".parquet")
_JOB, _LOCK = "job.json", "lock"
_TEXTS = ("file", "label", "risk", "overlay", "error")


def begun_job(output: Path) -> dict[str, Any]:
    """What the unfinished run that makes this table was begun with; empty if there is none."""
    try:
        job: dict[str, Any] = orjson.loads((_parts_of(output) / _JOB).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return job


class Results:
    """The rows of one run or of several that were broken off.

    Args:
        output: the table to make, `.csv` or `.parquet`.
        job: what must be the same for rows to stand in one table, such as the bundle's digest.
        columns: of the table, in their order.
        overwrite: whether an older table and the parts of an older run are discarded.

    Raises:
        StartError: the output exists, cannot be written, or was begun with another job.
    """

    def __init__(
        self, output: Path, job: dict[str, Any], columns: Sequence[str], *, overwrite: bool
    ) -> None:
        self._output = output
        self._columns = columns
        self._folder = _parts_of(output)
        if output.exists() and not overwrite and not (self._folder / _JOB).is_file():
            raise StartError(f"output {output} exists; give --overwrite, or another name")
        with contextlib.ExitStack() as stack:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((self._folder / _LOCK).open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if overwrite:
                    self._discard()
                self._begin(job)
                self._forget_passing()
            except BlockingIOError:
                raise StartError(f"output {output} is being made by another run") from None
            except OSError as error:
                raise StartError(f"output {output} cannot be written: {error.strerror}") from None
            self._open = stack.pop_all()
        self.done = {row["file"] for row in self.rows()}

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, *_: object) -> None:
        """Let another run have the parts."""
        self._open.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows, in this order, after those that are kept already."""
        if rows:
            part = self._folder / f"{len(self._parts()):08d}.jsonl"
            _write_lines(
                part, [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows]
            )

    def rows(self) -> Iterator[Row]:
        """All that is kept."""
        for part in self._parts():
            with part.open("rb") as stream:
                for line in stream:
                    yield orjson.loads(line)

    def finish(self) -> None:
        """Make the table of all rows, and forget the parts."""
        write = self._write_csv if self._output.suffix == ".csv" else self._write_parquet
        _write(self._output, write)
        shutil.rmtree(self._folder)

    def _discard(self) -> None:
        for file in self._folder.iterdir():
            if file.name != _LOCK:
                file.unlink()

    def _begin(self, job: dict[str, Any]) -> None:
        file = self._folder / _JOB
        if not file.is_file():
            _write(file, lambda stream: stream.write(orjson.dumps(job)))
            return
        begun = orjson.loads(file.read_bytes())
        for name, value in job.items():
            if begun.get(name) != value:
                raise StartError(
                    f"output {self._output} was begun with {name} {begun.get(name)!r}, this run "
                    f"has {value!r}; give --overwrite to begin anew, or another name"
                )

    def _forget_passing(self) -> None:
        final = image_reasons()
        for part in self._parts():
            lines = part.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if orjson.loads(line).get("error", "image") in final]
            if len(kept) < len(lines):
                _write_lines(part, kept)

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))

    def _write_csv(self, stream: IO[bytes]) -> None:
        stream.write(_csv_line(self._columns))
        for row in self.rows():
            stream.write(_csv_line([_text(row.get(column)) for column in self._columns]))

    def _write_parquet(self, stream: IO[bytes]) -> None:
        import pyarrow
        from pyarrow import parquet

        types = [
            (name, pyarrow.string() if name in _TEXTS else pyarrow.float32())
            for name in self._columns
        ]
        schema = pyarrow.schema(types)
        with parquet.ParquetWriter(stream, schema) as writer:
            for part in self._parts():
                rows = [orjson.loads(line) for line in part.read_bytes().splitlines()]
                writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


class _Line:
    """What `csv.writer` needs of a file."""

    def write(self, text: str) -> bytes:
        return text.encode()


def _csv_line(values: Sequence[str]) -> bytes:
    line: Any = csv.writer(_Line()).writerow(values)
    return bytes(line)


def _text(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _parts_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.parts")


def check_format(output: Path) -> None:
    """Refuse a table that could not be written in the end.

    Raises:
        StartError: its suffix, or a package that is missing.
    """
    if output.suffix not in FORMATS:
        raise StartError(
            f"output {output} ends in {output.suffix!r}; accepted: {', '.join(FORMATS)}"
        )
    if output.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise StartError(
                f"output {output} needs pyarrow, which is not installed: "
                "pip install 'sightline[batch]', or write .csv"
            ) from None


def _write_lines(file: Path, lines: Sequence[bytes]) -> None:
    _write(file, lambda stream: stream.writelines(lines))


def _write(file: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write to a temporary name, flush it to disk, then take the file's place."""
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
