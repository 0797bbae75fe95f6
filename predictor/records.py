"""The request log: what was answered about which image, for later labelling and drift work.

One JSON line per image: the hash of its bytes and the answer. The image itself is never in it, nor
its file name, nor a tag. A request neither waits for the log nor fails with it: what cannot be
written is dropped and counted.
"""

import io
import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from predictor.answer import Answer
from predictor.errors import SettingError

LOGGER = logging.getLogger("sightline.records")

# Lines that may wait for the disk.
WAITING = 10_000
_CLOSE_S = 5.0

_Line = dict[str, Any]


class Records:
    """Writes lines in a thread of its own, to a file that is rotated by size.

    Args:
        file: the current file; older ones are `file.1`, `file.2` and so on.
        max_bytes: size that a file does not exceed.
        files: how many are kept, the current among them.
        on_drop: told how many lines were lost.

    Raises:
        SettingError: the file cannot be opened.
    """

    def __init__(
        self, file: Path, max_bytes: int, files: int, on_drop: Callable[[int], object]
    ) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._files = files
        self._on_drop = on_drop
        self._queue: queue.Queue[_Line | None] = queue.Queue(WAITING)
        self._failing = False
        try:
            self._stream: io.FileIO | None = _open(file)
        except OSError as error:
            raise SettingError(f"--request_log {file} cannot be opened: {error.strerror}") from None
        self._thread = threading.Thread(target=self._work, name="records", daemon=True)
        self._thread.start()

    def put(self, request: Mapping[str, Any], answers: Sequence[Answer]) -> None:
        """Write a line per image, soon.

        Args:
            request: what all of them share: request id, model, version.
            answers: in the order of the request's images.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for index, answer in enumerate(answers):
            line = {
                "time": time,
                **request,
                "image": index,
                "sha256": answer.sha256,
                "label": answer.label,
                "confidence": answer.confidence,
                "risk": answer.risk,
                "probabilities": answer.probabilities,
            }
            try:
                self._queue.put_nowait(line)
            except queue.Full:
                self._on_drop(1)

    def close(self) -> None:
        """Write what waits, as far as the disk takes it within seconds."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=_CLOSE_S)
        self._thread.join(_CLOSE_S)

    def _work(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                self._write(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
                self._failing = False
            except OSError as error:
                self._on_drop(1)
                # Once per outage: a full disk fails at every line.
                if not self._failing:
                    data = {"errno": error.errno, "reason": error.strerror}
                    LOGGER.error("request log cannot be written", extra={"data": data})
                self._failing = True
        if self._stream is not None:
            self._stream.close()

    def _write(self, line: bytes) -> None:
        if self._stream is None:
            self._stream = _open(self._file)
        size = self._stream.tell()
        if size > 0 and size + len(line) > self._max_bytes:
            self._rotate()
            size = 0
        try:
            written = self._stream.write(line)
        except OSError:
            written = 0
            raise
        finally:
            if written != len(line):
                # Half a line would spoil the next one too.
                with suppress(OSError):
                    self._stream.truncate(size)
                    self._stream.seek(size)
        if written != len(line):
            raise OSError(28, os.strerror(28))

    def _rotate(self) -> None:
        assert self._stream is not None  # noqa: S101 - for the type checker
        self._stream.close()
        self._stream = None
        for number in range(self._files - 1, 0, -1):
            older = self._file if number == 1 else _numbered(self._file, number - 1)
            with suppress(FileNotFoundError):
                older.replace(_numbered(self._file, number))
        if self._files == 1:
            self._file.unlink(missing_ok=True)
        self._stream = _open(self._file)


def _numbered(file: Path, number: int) -> Path:
    return file.with_name(f"{file.name}.{number}")


def _open(file: Path) -> io.FileIO:
    stream = io.FileIO(file, "a")
    stream.seek(0, os.SEEK_END)
    return stream
