"""Programs that run for as long as the tests do."""

import os
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

READY_S = 120.0
_LAST_LINES = 20


class Daemon:
    """A process with a log of its own, ended with everything it has started.

    Args:
        name: of its log.
        command: with its arguments.
        folder: that the log is written to.
        environment: beside what the tests have.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def wait(self, ready: Callable[[], bool]) -> Self:
        """Until it is ready.

        Raises:
            RuntimeError: it has ended, or is not ready after two minutes; with its last words.
        """
        deadline = time.monotonic() + READY_S
        while not ready():
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} has ended: {self.last_words()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready: {self.last_words()}")
            time.sleep(0.1)
        return self

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:])

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10.0)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def answers(url: str, verify: ssl.SSLContext | bool = True) -> bool:
    """Whether somebody is there, and says 200."""
    try:
        return httpx.get(url, verify=verify).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
