"""The trials of a study that this process runs, as the database is told of them."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from train.console import Console
from train.search.config import SearchConfig
from train.search.owner import forget, is_gone
from train.search.space import suggest
from train.search.storage import grace_s
from train.search.study import (
    age_s,
    counted,
    fail_orphan,
    first_number,
    retry,
)

T = TypeVar("T")

OWNER, ERROR, EPOCHS, BEST_EPOCH, TRACKED = "owner", "error", "epochs", "best_epoch", "tracked_run"
_OUTAGE_S = 300.0
_PAUSE_S = 3.0


@dataclass(frozen=True)
class Board:
    """Speaks with the database; where that is away for a while, it is waited for.

    Attributes:
        study: the study.
        search: its settings.
        owner: name of this process.
        console: is told of outages.
    """

    study: Study
    search: SearchConfig
    owner: str
    console: Console

    def left(self, limit: int | None) -> int:
        """How many trials may still be begun."""
        if self._patiently(lambda: self.study.get_trials(False, (TrialState.WAITING,))):
            return 1
        return 1_000_000 if limit is None else limit - self._patiently(lambda: counted(self.study))

    def ask(self) -> Trial:
        """Begin a trial: one that is to be repeated, or a new one."""
        trial = self._patiently(self.study.ask)
        self._patiently(lambda: suggest(trial, self.search.space))
        self._patiently(lambda: trial.set_user_attr(OWNER, self.owner))
        self.beat([trial])
        return trial

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Note a trial's value after an epoch; say whether it is to be given up."""

        def note() -> bool:
            # A training that was interrupted may repeat the epoch that it was in.
            if epoch not in self._frozen(trial).intermediate_values:
                trial.report(value, epoch)
            return trial.should_prune()

        try:
            return self._patiently(note)
        except UpdateFinishedTrialError:
            return True

    def note(self, trial: Trial, **attributes: str | int) -> None:
        for key, value in attributes.items():
            try:
                self._patiently(lambda k=key, v=value: trial.set_user_attr(k, v))  # type: ignore[misc]
            except UpdateFinishedTrialError:
                return

    def tell(self, trial: Trial, state: TrialState, value: float | None = None) -> bool:
        """End a trial.

        Returns:
            False where another process has, which took this one for dead.
        """
        told = self._patiently(
            lambda: self.study.tell(
                trial, value if state == TrialState.COMPLETE else None, state, skip_if_finished=True
            )
        )
        return bool(told.state == state and (value is None or _same(told.value, value)))

    def put_back(self, trial: Trial) -> None:
        """Queue a trial again that is interrupted together with the search."""
        if self._frozen(trial).state.is_finished():
            return
        if self.tell(trial, TrialState.FAIL):
            frozen = self._frozen(trial)
            # The interruption is nobody's fault: it does not count as a retry.
            retries = len(frozen.system_attrs.get("retry_history", [])) + 1
            self._patiently(lambda: retry(self.study, frozen, retries))

    def beat(self, trials: list[Trial]) -> None:
        """Show that these trials are being run."""
        storage = cast(RDBStorage, self.study._storage)
        for trial in trials:
            self._patiently(lambda t=trial: storage.record_heartbeat(t._trial_id))  # type: ignore[misc]

    def take_over(self) -> None:
        """Queue trials again whose process is gone."""
        self._patiently(lambda: fail_stale_trials(self.study))
        others = self.of_others()
        owners = {str(trial.user_attrs[OWNER]) for trial in others if OWNER in trial.user_attrs}
        dead = {name for name in owners if is_gone(self.search.directory, name)}
        for trial in others:
            if OWNER in trial.user_attrs:
                gone = trial.user_attrs[OWNER] in dead
            else:
                # Killed before its first heartbeat, without which nothing counts as missed.
                gone = age_s(trial) > grace_s(self.search)
            if gone and fail_orphan(self.study, trial, self.search.retries):
                self.console.say(f"trial {trial.number} was left by a process that is gone")
        for name in dead:
            # Its name goes with the trials to those that repeat them, until they set their own.
            forget(self.search.directory, name)

    def of_others(self) -> list[FrozenTrial]:
        """Trials that other processes run."""
        running = self._patiently(lambda: self.study.get_trials(False, (TrialState.RUNNING,)))
        return [trial for trial in running if trial.user_attrs.get(OWNER) != self.owner]

    def directory(self, trial: Trial | FrozenTrial) -> Path:
        """Where a trial is trained; that of the trial which it repeats, to go on from its state."""
        frozen = trial if isinstance(trial, FrozenTrial) else self._frozen(trial)
        return self.search.directory / "trials" / f"{first_number(frozen):04d}"

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self._patiently(lambda: self.study._storage.get_trial(trial._trial_id))

    def _patiently(self, act: Callable[[], T]) -> T:
        deadline = time.monotonic() + _OUTAGE_S
        while True:
            try:
                return act()
            except StorageInternalError as error:
                if time.monotonic() > deadline:
                    raise
                self.console.say(f"the study's storage is away ({error.__cause__}); trying again")
                time.sleep(_PAUSE_S)


def _same(a: float | None, b: float) -> bool:
    return a is not None and math.isclose(a, b)
