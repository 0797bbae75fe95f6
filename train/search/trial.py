"""The process that trains: one trial after the other, told by and telling the search's process.

    python -m train.search.trial

Reads a setup and then a task per line, and writes its reports, see `train.search.messages`. It ends
when its input does, so that nothing goes on when the search's process has been killed.
"""

import math
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import TextIO

import torch

from model.errors import SightlineError
from train.config import with_values
from train.console import Console
from train.data import Dataset
from train.errors import PrunedError, TrainingError
from train.run import Run
from train.search.messages import Answer, Report, Setup, Task
from train.state import Epoch
from train.training import run_fit

LOG = "log.txt"
_ORPHAN_POLL_S = 0.2
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class Channel:
    """The lines to and from the search's process."""

    def __init__(self) -> None:
        # What a library prints goes to the log, and not between the reports.
        self._reports = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        parent = os.getppid()
        for line in sys.stdin:
            self._lines.put(line)
        self._lines.put("")
        # It sends a signal itself, where it can: killed, it leaves us to another parent.
        while os.getppid() == parent:
            time.sleep(_ORPHAN_POLL_S)
        # The training saves its state after the current step.
        os.kill(os.getpid(), signal.SIGTERM)

    def receive(self) -> str:
        """The next line; an empty one when there will be no more."""
        return self._lines.get()

    def send(self, report: Report) -> None:
        self._reports.write(report.line())


class Trials:
    """Runs trials of one search on data that is read once."""

    def __init__(self, setup: Setup, channel: Channel) -> None:
        self._setup, self._channel = setup, channel
        places = {"data.root": setup.root, "data.table": setup.table}
        self._config = with_values(setup.config, places)
        self._rule = ""
        self._data: Dataset | None = None

    def run(self, task: Task) -> Report:
        """Train one trial, and say how it ended.

        Raises:
            SystemExit: a signal has asked to stop; the state is saved.
        """
        task.directory.mkdir(parents=True, exist_ok=True)
        with (task.directory / LOG).open("a", encoding="utf-8") as log:
            try:
                return self._train(task, log)
            except PrunedError as pruned:
                return Report(kind="pruned", epoch=pruned.epoch)
            except (SightlineError, OSError) as error:
                return Report(kind="failed", error=str(error))
            except (RuntimeError, MemoryError) as error:
                traceback.print_exc(file=log)
                text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                if isinstance(error, MemoryError) or any(w in str(error) for w in _OUT_OF_MEMORY):
                    text = f"out of memory; a smaller batch or network may fit ({text})"
                return Report(kind="failed", error=text)
            except Exception as error:  # noqa: BLE001 - one trial's, whatever it is
                traceback.print_exc(file=log)
                return Report(kind="failed", error=f"{type(error).__name__}: {error}")

    def _train(self, task: Task, log: TextIO) -> Report:
        setup = self._setup
        values = dict(task.values)
        config = with_values(self._config, values).model_copy(update={"output": task.directory})
        rule = config.data.decode.model_dump_json()
        run = Run(
            config,
            Console(log),
            parent=setup.parent,
            loaded=self._data if rule == self._rule else None,
            name=f"trial {task.number}",
            study=setup.study,
        )
        self._data, self._rule = run.data, rule
        training = run_fit(run, self._watch)
        best = training.history[training.best_epoch - 1]
        return Report(
            kind="done",
            epoch=best.epoch,
            epochs=len(training.history),
            value=self._figure(best),
        )

    def _watch(self, epoch: Epoch) -> None:
        self._channel.send(Report(kind="epoch", epoch=epoch.epoch, value=self._figure(epoch)))
        line = self._channel.receive()
        # Without an answer the search is ending, and the training does after the next step.
        if line and Answer.model_validate_json(line).prune:
            raise PrunedError(epoch.epoch)

    def _figure(self, epoch: Epoch) -> float:
        value = epoch.figures.get(self._setup.objective)
        if value is None or not math.isfinite(value):
            raise TrainingError(f"{self._setup.objective} is {value} in epoch {epoch.epoch}")
        return value


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    channel = Channel()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    trials = Trials(Setup.model_validate_json(channel.receive()), channel)
    channel.send(Report(kind="ready"))
    while line := channel.receive():
        report = trials.run(Task.model_validate_json(line))
        channel.send(report)
        if report.kind == "failed":
            # What a failure leaves on a GPU or in a library is nobody's business after it.
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
