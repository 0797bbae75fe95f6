"""A loop in a process of its own, which trains an epoch whenever it is asked for one."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.bench import processes
from tests.bench.training.task import Task
from tests.bench.training.turns import Epoch, Step
from tests.bench.training.worker import work

ROOT = Path(__file__).parents[3]
MODULES = {
    "sightline": "sightline",
    "reference style": "rivals.reference",
    "timm style": "rivals.timm_style",
    "bare": "bare",
}
_STOP_S = 60.0
# Forked from one that has imported everything and computed nothing, which saves the seconds that
# the imports take and changes nothing else.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([f"tests.bench.training.{each}" for each in MODULES.values()])


@dataclass(frozen=True)
class Loop:
    """Who trains what.

    Attributes:
        name: in the table; a key of :data:`MODULES`.
        task: what is trained.
        detail: what is special about it.
    """

    name: str
    task: Task
    detail: str = ""


@dataclass(frozen=True)
class Turn:
    """An epoch, with what its processes used."""

    epoch: Epoch
    cpu_s: float
    rss_mb: float

    @property
    def images_per_second(self) -> float:
        return self.epoch.images / self.epoch.seconds


class Contender:
    """A loop's process; it waits when it is not its turn, and ends with the block."""

    def __init__(self, loop: Loop, logs: Path) -> None:
        self.loop = loop
        logs.mkdir(parents=True, exist_ok=True)
        name = "-".join([loop.name, loop.task.network, loop.detail]).replace(" ", "-")
        self._log = logs / f"{name.strip('-')}.log"
        # As `python -m train` has it, so that nobody's idle threads spin.
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        self._connection, theirs = _FORKS.Pipe()
        arguments = (MODULES[loop.name], loop.task, theirs, self._log)
        self._process = _FORKS.Process(target=work, args=arguments)
        self._process.start()
        # Else it would never read the end of ours.
        theirs.close()

    def __enter__(self) -> "Contender":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()
        self._process.join(_STOP_S)
        self.kill()
        self._process.close()

    def kill(self) -> None:
        """End it, and all that it has started, without any warning."""
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            self._process.join(_STOP_S)

    def turn(self) -> Turn:
        """Let it train for an epoch."""
        before_s = processes.cpu_s(processes.tree(self._pid))
        self.go()
        try:
            epoch = self._connection.recv()
        except EOFError:
            said = self._log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"{self.loop.name} has ended: {said}") from None
        assert isinstance(epoch, Epoch)
        pids = processes.tree(self._pid)
        return Turn(epoch, processes.cpu_s(pids) - before_s, processes.rss_mb(pids))

    def go(self, epochs: int = 1) -> None:
        """Give the word for some epochs, and wait for none."""
        self._connection.send(epochs)

    def steps(self) -> Iterator[Step]:
        """The steps that it tells, until it has ended."""
        while True:
            try:
                told = self._connection.recv()
            except (EOFError, ConnectionResetError):
                return
            if isinstance(told, Step):
                yield told

    @property
    def _pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid
