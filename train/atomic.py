"""Files that are there whole or not at all."""

import csv
import io
import os
import shutil
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
        if error.errno is None:
            # A library's own: with a file name beside it, its text would not be shown.
            raise OSError(f"{file}: {error}") from error
        if error.filename is None:
            error.filename = str(file)
        raise
    finally:
        partial.unlink(missing_ok=True)


def keep(file: Path, place: Path) -> None:
    """Give a file a second place where it stays as it is now.

    A hard link where the file system has them, which takes no room: files that are replaced as a
    whole, as all here are, do not change under it.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table with a header, whole or not at all."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(file, buffer.getvalue())


def write_text(file: Path, text: str) -> None:
    write_atomically(file, lambda stream: stream.write(text.encode()))
