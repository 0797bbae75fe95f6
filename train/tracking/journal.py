"""What a run has to tell its store, on disk before it is sent, and how much the store has.

DIR/RUN/journal.jsonl   one record a line, only ever added to
DIR/RUN/sent.json       the run's id in the store, and how far the journal has been acknowledged
DIR/RUN/store.json      which store that is
DIR/RUN/files/          artefacts that wait; hard links, so a copy takes no room
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from train.atomic import keep, write_text
from train.tracking.base import Status

_JOURNAL = "journal.jsonl"
_SENT = "sent.json"
_STORE = "store.json"
_FILES = "files"
_CHUNK_BYTES = 1 << 18


class _Record(BaseModel):
    # A loss may be infinite or no number, and is worth keeping so.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Begin(_Record):
    """A new run; `parent` is the id of the one that it is nested in."""

    kind: Literal["begin"] = "begin"
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    parent: str | None
    time_ms: int


class Resume(_Record):
    """A later step goes on with the run."""

    kind: Literal["resume"] = "resume"
    time_ms: int


class Metrics(_Record):
    """Figures of one step."""

    kind: Literal["metrics"] = "metrics"
    values: dict[str, float]
    step: int
    time_ms: int


class Tags(_Record):
    kind: Literal["tags"] = "tags"
    tags: dict[str, str]


class File(_Record):
    """An artefact: `held` is below the run's `files`, `path` is its place in the store."""

    kind: Literal["file"] = "file"
    held: str
    path: str


class End(_Record):
    """The step, and with it the run until the next, is over."""

    kind: Literal["end"] = "end"
    status: Status
    time_ms: int


Record = Begin | Resume | Metrics | Tags | File | End
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


class Sent(BaseModel):
    """How far the store has the journal.

    Attributes:
        store_id: id of the run in the store; None until it has one.
        offset: bytes of the journal that are acknowledged.
        refused: records that the store would not take, and that are left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    store_id: str | None = None
    offset: int = 0
    refused: int = 0


class Line(NamedTuple):
    """A record, and where the next one begins; None for a line that a crash has torn."""

    record: Record | None
    end: int


class Journal:
    """The journal of one run. Records may be added in one thread and read in another."""

    def __init__(self, directory: Path, run_id: str) -> None:
        self.run_id = run_id
        self.path = directory / run_id
        self._files = self.path / _FILES
        self._stream = -1
        self._torn = False

    @classmethod
    def create(cls, directory: Path, settings: str) -> "Journal":
        """A new run's journal, with the settings by which its store is found again."""
        return cls.find(directory, uuid4().hex, settings)

    @classmethod
    def find(cls, directory: Path, run_id: str, settings: str) -> "Journal":
        """The journal of a run that an earlier step has begun; empty if that was elsewhere."""
        journal = cls(directory, run_id)
        file = journal.path / _JOURNAL
        if not file.is_file():
            write_text(journal.path / _STORE, settings + "\n")
            file.touch()
        return journal

    @property
    def size(self) -> int:
        """Bytes that have been written."""
        return (self.path / _JOURNAL).stat().st_size

    def add(self, record: Record) -> None:
        """Write a record; a process that is killed after this has not lost it."""
        if self._stream < 0:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._stream = os.open(self.path / _JOURNAL, flags, 0o644)
            size = os.fstat(self._stream).st_size
            self._torn = size > 0 and os.pread(self._stream, 1, size - 1) != b"\n"
        line = record.model_dump_json().encode() + b"\n"
        if self._torn:
            line = b"\n" + line
        # Torn until it is whole: on a full disk a part of it may be there.
        self._torn = True
        if os.write(self._stream, line) < len(line):
            raise OSError(f"{self.path / _JOURNAL} could not be written whole; is the disk full?")
        self._torn = False

    def add_file(self, file: Path, path: str) -> None:
        """Keep a file as it is now, and record that it is to become the artefact `path`."""
        held = f"{uuid4().hex}/{file.name}"
        place = self._files / held
        keep(file, place)
        self.add(File(held=held, path=path))

    def held(self, record: File) -> Path:
        """Where an artefact waits."""
        return self._files / record.held

    def release(self, record: File) -> None:
        """Let go of an artefact that the store has."""
        shutil.rmtree(self.held(record).parent, ignore_errors=True)

    def sync(self) -> None:
        """Have what was written survive the machine's end too."""
        if self._stream >= 0:
            os.fsync(self._stream)

    def read(self, offset: int) -> Iterator[Line]:
        """The records from an offset on, as many as are there; memory holds a few at a time."""
        with (self.path / _JOURNAL).open("rb") as stream:
            stream.seek(offset)
            for line in stream:
                # Without its end, it may still be written.
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                try:
                    yield Line(_RECORD.validate_json(line), offset)
                except ValidationError:
                    yield Line(None, offset)

    def lines(self, offset: int) -> int:
        """How many records there are from an offset on."""
        with (self.path / _JOURNAL).open("rb") as stream:
            stream.seek(offset)
            return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b""))

    @property
    def settings(self) -> Path:
        """The file that says which store it was when the run began."""
        return self.path / _STORE

    def began_ms(self) -> int:
        """When the run began."""
        first = self._first()
        return first.time_ms if isinstance(first, Begin | Resume) else 0

    @property
    def parent(self) -> str | None:
        """Id of the run that this one is nested in, where it began here."""
        first = self._first()
        return first.parent if isinstance(first, Begin) else None

    def _first(self) -> Record | None:
        line = next(self.read(0), None)
        return None if line is None else line.record

    @property
    def last_ms(self) -> int:
        """When the last record was written."""
        return int((self.path / _JOURNAL).stat().st_mtime * 1000)

    @property
    def sent(self) -> Sent:
        try:
            return Sent.model_validate_json((self.path / _SENT).read_bytes())
        except FileNotFoundError:
            return Sent()

    def acknowledge(self, sent: Sent) -> None:
        write_text(self.path / _SENT, sent.model_dump_json() + "\n")

    @property
    def complete(self) -> bool:
        """Whether the store has all of it."""
        return self.sent.offset >= self.size

    @property
    def closed(self) -> bool:
        """Whether the last step has ended."""
        last: Record | None = None
        for line in self.read(0):
            if isinstance(line.record, Begin | Resume | End):
                last = line.record
        return last is None or isinstance(last, End)

    @contextmanager
    def sending(self) -> Iterator[bool]:
        """Whether this process may send: one at a time does."""
        with _locked(self.path / ".sending") as ours:
            yield ours

    @contextmanager
    def in_step(self) -> Iterator[bool]:
        """Held while a step records; False where another process holds it."""
        with _locked(self.path / ".step") as ours:
            yield ours

    def close(self) -> None:
        if self._stream >= 0:
            os.close(self._stream)
            self._stream = -1

    def remove(self) -> None:
        shutil.rmtree(self.path)


def journals(directory: Path) -> list[Journal]:
    """All journals in a directory, in the order in which their runs began."""
    found = [Journal(directory, file.parent.name) for file in directory.glob(f"*/{_JOURNAL}")]
    return sorted(found, key=Journal.began_ms)


@contextmanager
def _locked(file: Path) -> Iterator[bool]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        ours = False
        # Not `flock`: a worker that is forked while it is held would keep it.
        with suppress(BlockingIOError, PermissionError):
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = True
        yield ours
    finally:
        os.close(descriptor)
