"""The side of a loop's process on which it waits for its turn, and tells what it took.

A number that comes through the connection is the word to train as many epochs. The answers are an
:class:`Epoch` for each, and a :class:`Step` for each step where those are to be told.
"""

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

_MIB = 1024.0 * 1024.0


@dataclass(frozen=True)
class Epoch:
    """What an epoch took.

    Attributes:
        images: trained on.
        seconds: without validation, unless that is judged.
        macro_f1: on validation; None where the loop was not to judge.
        gpu_peak_mb: allocated on the GPU since the loop began; None without one.
    """

    images: int
    seconds: float
    macro_f1: float | None
    gpu_peak_mb: float | None


@dataclass(frozen=True)
class Step:
    """That a step is done, both from 1."""

    epoch: int
    step: int


class Turns:
    """The clock of one loop.

    Args:
        connection: to whoever gives the word.
        device: that has to have finished before the clock is read.
        judged: whether validation counts.
    """

    def __init__(self, connection: Connection, device: str, *, judged: bool) -> None:
        self._connection = connection
        self.judged = judged
        self._cuda = device == "cuda"
        self._granted = self._images = 0
        self._started = self._stopped = 0.0

    def begin(self) -> None:
        """Wait for the word; the process ends where none will come."""
        try:
            self._granted = self._granted or self._connection.recv()
        except EOFError:
            raise SystemExit(0) from None
        self._granted -= 1
        self._started = time.perf_counter()

    def trained(self, images: int) -> None:
        """The last step of the epoch is done."""
        self._images, self._stopped = images, self._now()

    def end(self, macro_f1: float | None = None) -> None:
        """Tell what the epoch took."""
        seconds = (self._now() if self.judged else self._stopped) - self._started
        peak_mb = torch.cuda.max_memory_allocated() / _MIB if self._cuda else None
        self._connection.send(Epoch(self._images, seconds, macro_f1, peak_mb))

    def tell(self, step: Step) -> None:
        """Tell a step that is done."""
        self._connection.send(step)

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()
