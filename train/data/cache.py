"""Decoded pixels on disk, so that an epoch costs augmentation and arithmetic, not decoding."""

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import ImageError
from model.image import DecodeRule, decode
from train.atomic import write_text
from train.errors import DataError

Progress = Callable[[int, int], None]


class DecodedCache:
    """The pixels of those of N files that are images, uint8 [M, H, W, 3], memory-mapped.

    Keyed by the files' contents and the decode rule. Processes that want the same pixels wait for
    the first one; a process that was killed leaves what it has decoded to the next.

    Args:
        directory: made where it is missing.
        root: folder that the files are relative to.
        files: paths of N images.
        hashes: SHA-256 of each.
        rule: the decode rule.
    """

    def __init__(
        self,
        directory: Path,
        root: Path,
        files: Sequence[str],
        hashes: Sequence[str],
        rule: DecodeRule,
    ) -> None:
        text = rule.model_dump_json() + "".join(hashes)
        name = f"images-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self._directory, self._root, self._files, self._rule = directory, root, files, rule
        self._row = (rule.height_px, rule.width_px, 3)
        self._pixels = directory / f"{name}.u8"
        self._states = directory / f"{name}.states"
        self._complete = directory / f"{name}.json"

    def read(
        self, threads: int, progress: Progress | None = None
    ) -> tuple[npt.NDArray[np.uint8], dict[int, str]]:
        """Decode what is not decoded yet.

        Args:
            threads: how many images are decoded at once.
            progress: told (images done, images in all).

        Returns:
            The pixels, and by position in the list of files why one could not be decoded.

        Raises:
            DataError: the disk is full.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._lock():
            if not self._complete.is_file():
                self._decode(threads, progress)
        told = json.loads(self._complete.read_text(encoding="utf-8"))
        bad = {int(position): reason for position, reason in told["bad"].items()}
        shape = (len(self._files) - len(bad), *self._row)
        if not shape[0]:
            return np.zeros(shape, np.uint8), bad
        return np.memmap(self._pixels, np.uint8, "r", shape=shape), bad

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # The system lets go of it when the process ends, however it ends.
        with self._pixels.with_suffix(".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _decode(self, threads: int, progress: Progress | None) -> None:
        count = len(self._files)
        self._allocate(self._pixels, count * math.prod(self._row))
        self._allocate(self._states, count)
        images = np.memmap(self._pixels, np.uint8, "r+", shape=(count, *self._row))
        states = np.memmap(self._states, np.uint8, "r+", shape=(count,))

        def one(position: int) -> str | None:
            try:
                data = (self._root / self._files[position]).read_bytes()
                images[position] = decode(data, self._rule).pixels
            except (ImageError, OSError) as error:
                return str(error)
            # After the pixels: a row that counts as done is whole, also if the process is killed.
            states[position] = 1
            return None

        todo = np.flatnonzero(states == 0).tolist()
        bad = {}
        with ThreadPoolExecutor(threads) as pool:
            for done, problem in enumerate(pool.map(one, todo), start=1):
                if problem is not None:
                    bad[todo[done - 1]] = problem
                if progress:
                    progress(count - len(todo) + done, count)
        # Nothing counts as done while the rows of images move up over those of files that are none.
        self._states.unlink()
        if bad:
            kept = [position for position in range(count) if position not in bad]
            for row, position in enumerate(kept):
                images[row] = images[position]
        images.flush()
        os.truncate(self._pixels, (count - len(bad)) * math.prod(self._row))
        write_text(self._complete, json.dumps({"files": count, "bad": bad}) + "\n")

    def _allocate(self, file: Path, size_bytes: int) -> None:
        try:
            with file.open("ab") as stream:
                # A page of a mapped file that the disk has no room for would end the process.
                os.posix_fallocate(stream.fileno(), 0, size_bytes)
        except OSError as error:
            file.unlink(missing_ok=True)
            raise DataError(
                f"{self._directory} has no room for {size_bytes:,} bytes of decoded pixels: "
                f"{error.strerror}"
            ) from error
