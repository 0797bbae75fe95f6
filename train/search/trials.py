"""The trials that one process of a search runs, several at once."""

import selectors
import time
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import Trial, TrialState

from train.config import TrainConfig
from train.errors import SearchError
from train.search.board import BEST_EPOCH, EPOCHS, ERROR, TRACKED, Board
from train.search.messages import Answer, Report, Setup, Task
from train.search.results import keep_checkpoints, write_best
from train.search.slots import make_slots
from train.search.space import grid, grid_size
from train.search.storage import grace_s
from train.search.tracked import end_run, run_of
from train.search.worker import Worker
from train.state import Stop

_POLL_S = 0.5
# A trial saves its state after the step that it is in, and may then have to end its tracked run.
_STOP_S = 60.0


@dataclass
class _Busy:
    """A worker with the trial that it runs."""

    worker: Worker
    trial: Trial
    directory: Path
    tracked: bool = False


@dataclass
class Trials:
    """The trials that this process runs, from the first to the last."""

    config: TrainConfig
    board: Board
    setup: Setup
    stop: Stop
    busy: list[_Busy] = field(default_factory=list)
    failures: int = 0

    def run(self) -> None:
        """Run trials until there is nothing left to begin, or a signal asks to stop."""
        search = self.board.search
        began = beat = time.monotonic()
        self.board.take_over()
        left = max(1, self.board.left(self._limit()))
        slots = make_slots(search, self.config.loop.device, left)
        log = search.directory / "workers"
        workers = [Worker(slot, self.setup, log / f"{slot.number}.log") for slot in slots]
        idle = [*workers]
        try:
            while self.stop.code is None:
                over = (
                    search.time_limit_minutes is not None
                    and time.monotonic() - began > search.time_limit_minutes * 60.0
                )
                while idle and not over and self.board.left(self._limit()) > 0:
                    self._begin(idle.pop(0))
                if not self.busy and (over or not self._await_others()):
                    break
                idle += self._attend(_POLL_S)
                if time.monotonic() - beat > search.heartbeat_s / 2:
                    beat = time.monotonic()
                    self.board.beat([each.trial for each in self.busy])
                    self.board.take_over()
        finally:
            self._stop(workers)

    def _limit(self) -> int | None:
        search = self.board.search
        points = grid_size(grid(search.space)) if search.sampler == "grid" else None
        return min((n for n in (points, search.trials) if n is not None), default=None)

    def _begin(self, worker: Worker) -> None:
        trial = self.board.ask()
        directory = self.board.directory(trial)
        self.busy.append(_Busy(worker, trial, directory))
        former = trial.user_attrs.get(TRACKED)
        if former is not None and run_of(directory) != former:
            # It was begun on another machine, and is begun anew here.
            end_run(self.config.tracking, directory, self.board.console, former, "KILLED")
        values = ", ".join(f"{key}={_short(value)}" for key, value in trial.params.items())
        self.board.console.say(f"trial {trial.number}: {values}")
        worker.begin(Task(number=trial.number, directory=directory, values=trial.params))

    def _attend(self, timeout_s: float) -> list[Worker]:
        """Take what the workers have to say; return those that have become idle."""
        with selectors.DefaultSelector() as selector:
            for each in self.busy:
                selector.register(each.worker.output, selectors.EVENT_READ, each)
            if not self.busy:
                time.sleep(timeout_s)
                return []
            ready = [key.data for key, _ in selector.select(timeout_s)]
        return [each.worker for each in ready if self._hear(each)]

    def _hear(self, each: _Busy) -> bool:
        """Take what one worker has to say; whether its trial is over."""
        reports = each.worker.read()
        if reports is None:
            self._settle(each, Report(kind="failed", error=each.worker.end()))
            return True
        for report in reports:
            if report.kind == "epoch":
                if not each.tracked and (run_id := run_of(each.directory)):
                    each.tracked = True
                    self.board.note(each.trial, **{TRACKED: run_id})
                prune = self.board.report(each.trial, report.epoch, report.value)
                each.worker.answer(Answer(prune=prune))
            elif report.kind != "ready":
                if report.kind == "failed":
                    each.worker.end()
                self._settle(each, report)
                return True
        return False

    def _settle(self, each: _Busy, report: Report) -> None:
        """Tell how a trial has ended."""
        self.busy.remove(each)
        board, trial, search = self.board, each.trial, self.board.search
        if report.kind == "done":
            board.note(trial, **{EPOCHS: report.epochs, BEST_EPOCH: report.epoch})
            told = board.tell(trial, TrialState.COMPLETE, report.value)
            text = f"{search.objective} {report.value:.4f} in epoch {report.epoch}"
        elif report.kind == "pruned":
            board.note(trial, **{EPOCHS: report.epoch})
            told = board.tell(trial, TrialState.PRUNED)
            text = f"given up after epoch {report.epoch}"
        else:
            board.note(trial, **{ERROR: report.error})
            told = board.tell(trial, TrialState.FAIL)
            text = f"failed: {report.error}"
            if run_id := run_of(each.directory):
                end_run(self.config.tracking, each.directory, board.console, run_id, "FAILED")
        board.console.say(f"trial {trial.number} {text}" if told else f"trial {trial.number} lost")
        keep_checkpoints(board)
        write_best(board.study, search, self.config)
        self.failures = self.failures + 1 if report.kind == "failed" else 0
        if self.failures >= search.max_failures:
            raise SearchError(
                f"{self.failures} trials in a row have failed, the last: {report.error}"
            )

    def _await_others(self) -> bool:
        """Wait for signs of life of trials that other processes run.

        A trial of a process that was killed elsewhere is noticed only by their absence.

        Returns:
            Whether there is a trial to begin after all.
        """
        search, limit = self.board.search, self._limit()
        until = time.monotonic() + grace_s(search) + search.heartbeat_s
        said = False
        while self.stop.code is None and time.monotonic() < until:
            self.board.take_over()
            if self.board.left(limit) > 0:
                return True
            others = self.board.of_others()
            if not others:
                return False
            if not said:
                said = True
                numbers = ", ".join(str(trial.number) for trial in others)
                self.board.console.say(
                    f"trial {numbers} is run by another process; waiting at most "
                    f"{until - time.monotonic():.0f} s to see whether it is alive"
                )
            time.sleep(_POLL_S)
        return False

    def _stop(self, workers: list[Worker]) -> None:
        """End every process, and queue the trials again that were being run."""
        for worker in workers:
            worker.terminate()
        deadline = time.monotonic() + _STOP_S
        for worker in workers:
            worker.stop(max(0.0, deadline - time.monotonic()))
        for each in self.busy:
            if run_id := run_of(each.directory):
                # Its own process has, unless it was killed.
                end_run(self.config.tracking, each.directory, self.board.console, run_id, "KILLED")
            self.board.put_back(each.trial)
        self.busy.clear()


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
