"""Files that are there whole or not at all."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO


def write_atomically(file: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write to a temporary name beside `file`, flush it to disk, then take its place.

    Raises:
        OSError: it cannot be written; names the file, as the system's error about a full disk
            does not.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with partial.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    except OSError as error:
        if error.filename is None:
            error.filename = str(file)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table with a header, whole or not at all."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(file, buffer.getvalue())


def write_text(file: Path, text: str) -> None:
    write_atomically(file, lambda stream: stream.write(text.encode()))
