"""How far a run has come: a line that changes on a terminal, plain lines now and then elsewhere."""

import time
from typing import TextIO

_WIDTH = 30
_TERMINAL_S, _ELSEWHERE_S = 0.2, 10.0


class Progress:
    """Shows done, total, failures, speed and the time that is left.

    Args:
        total: images of the whole job.
        done: of them, those of an earlier run.
        stream: where it is shown.
    """

    def __init__(self, total: int, done: int, stream: TextIO) -> None:
        self._total, self._before, self._stream = total, done, stream
        self._terminal = stream.isatty()
        self._started = self._shown = time.monotonic()

    def show(self, done: int, failed: int, *, last: bool = False) -> None:
        """Tell how many of the total are done, and how many of them failed."""
        now = time.monotonic()
        if not last and now - self._shown < (_TERMINAL_S if self._terminal else _ELSEWHERE_S):
            return
        self._shown = now
        speed = (done - self._before) / max(now - self._started, 1e-9)
        left = f", {(self._total - done) / speed:.0f} s left" if speed and not last else ""
        text = f"{done} of {self._total} images, {failed} failed, {speed:.1f} per second{left}"
        if self._terminal:
            full = _WIDTH * done // self._total
            bar = "#" * full + "." * (_WIDTH - full)
            self._stream.write(f"\r[{bar}] {text}\x1b[K" + ("\n" if last else ""))
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
