"""The other end of `train.search.trial`: its process, as the search's process sees it."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

from train.search.messages import Answer, Report, Setup, Task
from train.search.slots import Slot

T = TypeVar("T")

_ROOT = Path(__file__).parents[2]


class Worker:
    """A process that trains, in one slot; started when there is a task, and again after a failure.

    Args:
        slot: where it trains.
        setup: what it is told first.
        log: file that its standard error goes to.
    """

    def __init__(self, slot: Slot, setup: Setup, log: Path) -> None:
        self.slot = slot
        self._setup, self._log = setup, log
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    @property
    def output(self) -> IO[bytes]:
        """The end to wait at for reports."""
        return _there(self._running.stdout)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        return _there(self._process)

    def begin(self, task: Task) -> None:
        """Give it a trial to train.

        Raises:
            OSError: there is no process to be had.
        """
        if self._process is None:
            self._start()
        self._send(task.line())

    def answer(self, answer: Answer) -> None:
        self._send(answer.line())

    def read(self) -> list[Report] | None:
        """The reports that have come; None when the process has ended."""
        data = os.read(self.output.fileno(), 1 << 16)
        if not data:
            return None
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [Report.model_validate_json(line) for line in lines]

    def end(self) -> str:
        """Collect a process that has ended, and say how."""
        code = self._running.wait()
        self._close()
        if code >= 0:
            return f"its process ended with code {code}; see {self._log}"
        hint = " (the kernel ends a process so when memory runs out)"
        name = signal.Signals(-code).name
        return f"its process was ended by {name}{hint if name == 'SIGKILL' else ''}"

    def terminate(self) -> None:
        """Ask it to stop after the current step."""
        if self._process is not None:
            self._process.terminate()
            with suppress(BrokenPipeError):
                _there(self._process.stdin).close()

    def stop(self, timeout_s: float) -> None:
        """Wait until it has stopped; not longer than the time given."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _start(self) -> None:
        environment = os.environ | self.slot.environment
        path = [str(_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "train.search.trial"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment | {"PYTHONPATH": os.pathsep.join(path)},
                # Ctrl-C goes to the search's process alone, which tells the others in good order.
                start_new_session=True,
            )
        self._pending = b""
        self._send(self._setup.line())

    def _send(self, line: bytes) -> None:
        stdin = _there(self._running.stdin)
        # Where it has died, the end of its output tells so, in its turn.
        with suppress(BrokenPipeError):
            stdin.write(line)
            stdin.flush()

    def _close(self) -> None:
        for stream in (self._running.stdin, self._running.stdout):
            with suppress(BrokenPipeError):
                _there(stream).close()
        self._process = None


def _there(found: T | None) -> T:
    if found is None:
        raise RuntimeError("the worker has no process")
    return found
