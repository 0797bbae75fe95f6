"""The study: where Optuna keeps the trials, and how it chooses the next one."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from train.config import TrainConfig
from train.errors import ConfigError, SearchError, StudyAwayError
from train.search.config import IntRange, SearchConfig
from train.search.space import grid
from train.search.storage import open_storage, shown, storage_url

INPUTS = "inputs"


class GridOfTrials(GridSampler):
    """Optuna's grid, whose end is noticed by whoever asks; it would stop a loop of Optuna's."""

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        pass


class SeededByTrial(BaseSampler):
    """A sampler drawn anew for each trial, seeded by the search's seed and the trial's number.

    So a search that was interrupted goes on as if it had not been, and Jobs that share a study do
    not all begin with the same draws.
    """

    def __init__(self, search: SearchConfig) -> None:
        self._search = search
        self._sampler = self._make(0)

    def _make(self, number: int) -> BaseSampler:
        seed = (self._search.seed + 1_000_003 * number) % 2**32
        if self._search.sampler == "random":
            return RandomSampler(seed=seed)
        return TPESampler(
            seed=seed, n_startup_trials=self._search.startup_trials, multivariate=True
        )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler = self._make(trial.number)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Optuna says of itself: of arguments that may change, and of each trial.

    It also takes a heartbeat outside `Study.optimize` for a mistake; here the search records it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")
        yield


def open_study(search: SearchConfig, config: TrainConfig) -> Study:
    """Make the study, or go on with the one of that name.

    Raises:
        SearchError: the database cannot be used, or the study is of another direction.
    """
    url = storage_url(search)
    try:
        storage = open_storage(url, search)
        try:
            study = optuna.create_study(
                storage=storage, study_name=search.name, direction=search.towards
            )
        except DuplicatedStudyError:
            study = optuna.load_study(storage=storage, study_name=search.name)
    except (SQLAlchemyError, StorageInternalError, RuntimeError, ImportError, OSError) as error:
        # What a server that is not there yet looks like; a file is there or is not.
        away = isinstance(error, OperationalError | StorageInternalError)
        kind = StudyAwayError if away and not url.startswith("sqlite") else SearchError
        raise kind(f"the study's storage {shown(url)} cannot be used: {error}") from error
    study.sampler = make_sampler(search)
    study.pruner = make_pruner(search, config)
    return study


def agree_on(study: Study, inputs: dict[str, str]) -> None:
    """Keep what the study's trials have in common, or compare it with what they had.

    Raises:
        ConfigError: values of the trials could not be compared; says what is different.
    """
    earlier = study.user_attrs.get(INPUTS)
    if earlier is None:
        study.set_user_attr(INPUTS, inputs)
        return
    changed = [name for name, value in inputs.items() if earlier.get(name) != value]
    if changed:
        raise ConfigError(
            f"study {study.study_name} was begun with another {', '.join(changed)}; its values "
            "could not be compared with new ones: give the search another name"
        )


def make_sampler(search: SearchConfig) -> BaseSampler:
    if search.sampler == "grid":
        return GridOfTrials(grid(search.space), seed=search.seed)
    return SeededByTrial(search)


def make_pruner(search: SearchConfig, config: TrainConfig) -> BasePruner:
    """The pruner, which looks at the objective after each epoch."""
    pruner = search.pruner
    if pruner.type == "median":
        return MedianPruner(pruner.startup_trials, pruner.warmup_epochs)
    if pruner.type == "hyperband":
        searched = search.space.get("loop.epochs")
        most = searched.high if isinstance(searched, IntRange) else config.loop.epochs
        return HyperbandPruner(
            min_resource=max(1, min(pruner.warmup_epochs, most)),
            max_resource=most,
            reduction_factor=pruner.reduction_factor,
        )
    return NopPruner()


def retry(study: Study, trial: FrozenTrial, retries: int) -> None:
    """Queue a trial again whose process was ended from outside, with what it has reported."""
    RetryHeartbeatStaleTrialCallback(retries, inherit_intermediate_values=True)(study, trial)


def is_retried(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether another trial has taken over a failed one."""
    return trial.state == TrialState.FAIL and any(
        trial.number in other.system_attrs.get("retry_history", []) for other in trials
    )


def first_number(trial: FrozenTrial) -> int:
    """Number of the trial that this one is, perhaps indirectly, a retry of; else its own."""
    number: int = trial.system_attrs.get("failed_trial", trial.number)
    return number


def counted(study: Study) -> int:
    """Trials that are begun or done, a retried one once."""
    trials = study.get_trials(deepcopy=False)
    return sum(t.state != TrialState.WAITING and not is_retried(t, trials) for t in trials)


def fail_orphan(study: Study, trial: FrozenTrial, retries: int) -> bool:
    """Fail a running trial whose process is known to be gone, and queue it again.

    Returns:
        Whether it was still running; another process may have noticed first.
    """
    storage = study._storage
    try:
        if not storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL):
            return False
    except optuna.exceptions.UpdateFinishedTrialError:
        return False
    retry(study, storage.get_trial(trial._trial_id), retries)
    return True


def age_s(trial: FrozenTrial) -> float:
    """Seconds since a trial was begun, by the clock of the process that began it."""
    began = trial.datetime_start or datetime.now()  # noqa: DTZ005 - Optuna writes local times
    return (datetime.now() - began).total_seconds()  # noqa: DTZ005
