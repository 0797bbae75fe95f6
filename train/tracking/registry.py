"""Trackers by name. A new one is one file, and one line here."""

from collections.abc import Callable
from pathlib import Path

from train.config import TrackedConfig, TrackingConfig
from train.console import Console
from train.errors import TrackingError
from train.tracking.base import Tracker
from train.tracking.buffered import BufferedTracker
from train.tracking.none import NoTracker
from train.tracking.store import Store

JOURNALS = "tracking"


# What a tracker's library needs is imported only where it is chosen.
def _mlflow(config: TrackingConfig, directory: Path) -> Store:
    from train.tracking.mlflow import MlflowStore

    return MlflowStore(config)


def _wandb(config: TrackingConfig, directory: Path) -> Store:
    try:
        from train.tracking.wandb import WandbStore
    except ModuleNotFoundError as error:
        raise TrackingError(
            f"tracking.tracker is 'wandb', which is not installed ({error}); "
            "`pip install 'sightline[wandb]'` brings it"
        ) from error
    return WandbStore(config, directory)


#: Makes the store of a configuration and a run directory; None records nothing.
TRACKERS: dict[str, Callable[[TrackingConfig, Path], Store] | None] = {
    "mlflow": _mlflow,
    "none": None,
    "wandb": _wandb,
}


def make_tracker(config: TrackingConfig, directory: Path, console: Console) -> Tracker:
    """The tracker of a configuration.

    Args:
        config: names it.
        directory: of the run; what the store has not acknowledged yet is kept below.
        console: is told where the store is away.

    Raises:
        TrackingError: its store cannot be used. One that is only away can: its time comes.
    """
    store = make_store(config, directory)
    if store is None:
        return NoTracker()
    settings = TrackedConfig(tracking=config).model_dump_json(indent=2)
    return BufferedTracker(directory / JOURNALS, store, console.say, settings)


def make_store(config: TrackingConfig, directory: Path) -> Store | None:
    """Where a configuration has the runs of a directory recorded; None for nowhere."""
    make = TRACKERS[config.tracker]
    return None if make is None else make(config, directory)
