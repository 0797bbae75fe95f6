"""What a person sees while a step runs: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

_EVERY_S = 10.0


class Console:
    """Writes progress and results of the steps.

    Args:
        stream: where to; standard error by default.
        silent: whether to write nothing: of several processes, one tells what all of them do.
    """

    def __init__(self, stream: TextIO | None = None, *, silent: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._silent = silent

    def say(self, text: str = "") -> None:
        if self._silent:
            return
        tqdm.write(text, file=self._stream)
        self._stream.flush()

    def bar(self, what: str, unit: str) -> Callable[[int, int], None]:
        """A callback for (done, total): a bar on a terminal, else a line now and then."""
        if self._silent or not self._stream.isatty():
            return _Lines(self, what, unit)
        bar = tqdm(desc=what, unit=f" {unit}", file=self._stream, leave=False)

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if done >= total:
                bar.close()

        return update


class _Lines:
    def __init__(self, console: Console, what: str, unit: str) -> None:
        self._console, self._what, self._unit = console, what, unit
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total or now - self._last >= _EVERY_S:
            self._last = now
            self._console.say(f"{self._what}: {done} of {total} {self._unit}")
