"""Which files are scored: a folder, a glob or the `file` column of a CSV."""

import csv
import glob
import logging
import os
from pathlib import Path

from model.image import SUFFIXES
from predictor.errors import StartError

LOGGER = logging.getLogger("sightline.batch")

COLUMN = "file"


def find(source: str) -> list[Path]:
    """The files in a fixed order, each once.

    Args:
        source: a folder, searched at every depth for the suffixes of images; a CSV, whose paths
            are relative to it; one file; or a glob pattern, of which every file counts. How many
            files of a folder have other suffixes is logged.

    Raises:
        StartError: there is no such thing, or no file in it.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        found = [file for file in files if file.suffix.lower() in SUFFIXES]
        expected = f"at any depth with a name in {', '.join(SUFFIXES)}"
        if skipped := len(files) - len(found):
            expected += f"; {skipped} with other names, which a glob or a CSV would take"
            data = {"skipped": skipped, "scored": SUFFIXES}
            LOGGER.warning("files skipped for their suffix", extra={"data": data})
    elif path.suffix.lower() == ".csv":
        found, expected = _listed(path), f"in its column {COLUMN!r}"
    elif path.is_file():
        # Its name may have what is special in a pattern.
        return [path]
    else:
        # Path.glob() takes no absolute pattern.
        matches = (Path(name) for name in glob.glob(source, recursive=True))  # noqa: PTH207
        found, expected = sorted(file for file in matches if file.is_file()), "that matches"
    if not found:
        raise StartError(f"input {source!r} has no file {expected}")
    return list(dict.fromkeys(found))


def name_of(file: Path) -> str:
    """A file's name in the table. A byte that is no UTF-8, which a name may have, is escaped."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def _listed(path: Path) -> list[Path]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if COLUMN not in (reader.fieldnames or ()):
                columns = ", ".join(reader.fieldnames or ()) or "none"
                raise StartError(
                    f"input {str(path)!r} has the columns {columns}; a column {COLUMN!r} is needed"
                )
            found = []
            for row in reader:
                if "\0" in (name := row[COLUMN] or ""):
                    raise StartError(
                        f"input {str(path)!r}, line {reader.line_num}: {COLUMN} is {name!r}; "
                        "accepted: a path, which has no NUL character"
                    )
                if name:
                    found.append(path.parent / name)
            return found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StartError(f"input {str(path)!r} cannot be read: {error}") from None
