"""Copies of remote files on this machine, kept between runs and trusted only while current."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from train.atomic import write_atomically
from train.errors import DataError

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One remote file as its store lists it.

    Attributes:
        place: where the store has it.
        size_bytes: None where the store does not tell.
        version: changes when the content does: an ETag, a checksum, or a modification time; empty
            where the store tells none of them, and the file has to be fetched again each time.
    """

    place: str
    size_bytes: int | None
    version: str


class Mirror:
    """Files of one URL below `root`, each with the version that it is a copy of.

    A file is there whole or not at all, and counts as current only if the journal has its version
    and its size is right. So whatever ends a process, the next one goes on with what is there.

    Args:
        cache: folder of all mirrors.
        address: of the source, without secrets.
    """

    def __init__(self, cache: Path, address: str) -> None:
        self.directory = cache / hashlib.sha256(address.encode()).hexdigest()[:24]
        self.root = self.directory / "files"
        self._journal = self.directory / "journal.jsonl"
        self._writing = threading.Lock()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process fetch at a time; the others then find what it has fetched.

        Raises:
            DataError: the cache cannot be written.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            stream = (self.directory / "lock").open("w")
        except OSError as error:
            raise DataError(
                f"data.cache: {self.directory.parent} cannot be written: {error.strerror}"
            ) from error
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def lacking(self, entries: Mapping[str, Entry]) -> list[str]:
        """Which of these files are not here in their current version."""
        versions = self._versions()
        return [name for name, entry in entries.items() if not self._current(name, entry, versions)]

    def check_room(self, entries: Iterable[Entry]) -> None:
        """Refuse to begin what the disk has no room for.

        Raises:
            DataError: says how much is needed, how much is free, and how to take another disk.
        """
        needed = sum(entry.size_bytes or 0 for entry in entries)
        free = shutil.disk_usage(self.directory).free
        if needed > free:
            raise DataError(self._full(f"{needed:,} bytes are to be fetched and {free:,} are free"))

    def place(self, name: str, entry: Entry, data: bytes) -> None:
        """Write one file, and note which version it is."""
        with self.room():
            write_atomically(self.root / name, lambda stream: stream.write(data))
            self._note(name, entry)

    @contextmanager
    def room(self) -> Iterator[None]:
        """Say of a disk that has become full which it is.

        Raises:
            DataError: instead of the system's error.
        """
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DataError(self._full(str(error.strerror))) from error
            raise

    def partial(self, name: str, entry: Entry) -> Path:
        """Where the beginning of a large file is kept until it is whole; one for each version."""
        key = hashlib.sha256(f"{name}\n{entry.version}".encode()).hexdigest()[:24]
        file = self.directory / f"{key}.part"
        if not entry.version:
            file.unlink(missing_ok=True)
        return file

    def clear_partials(self) -> None:
        """Remove the beginnings of versions that are no longer wanted; only under the lock."""
        for file in self.directory.glob("*.part"):
            file.unlink(missing_ok=True)

    def adopt(self, name: str, entry: Entry, partial: Path) -> None:
        """Take over a large file that has become whole."""
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(file)
        self._note(name, entry)

    def forget(self, name: str) -> None:
        """Remove a file that turned out to be of no known version."""
        (self.root / name).unlink(missing_ok=True)

    def _note(self, name: str, entry: Entry) -> None:
        line = json.dumps({"file": name, "version": entry.version}) + "\n"
        with self._writing, self._journal.open("a", encoding="utf-8") as stream:
            stream.write(line)

    def _versions(self) -> dict[str, str]:
        if not self._journal.is_file():
            return {}
        versions = {}
        with self._journal.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                try:
                    told = json.loads(line)
                    versions[told["file"]] = told["version"]
                except (ValueError, KeyError, TypeError):
                    continue  # of a process that was killed while it wrote the line
        return versions

    def _current(self, name: str, entry: Entry, versions: Mapping[str, str]) -> bool:
        if not entry.version or versions.get(name) != entry.version:
            return False
        try:
            size = os.stat(self.root / name).st_size  # noqa: PTH116 - half of Path.stat's time
        except OSError:
            return False
        return entry.size_bytes is None or size == entry.size_bytes

    def _full(self, reason: str) -> str:
        return (
            f"data.cache: {self.directory.parent} has no room for the images: {reason}; "
            "make room, or set data.cache to a folder on another disk"
        )
