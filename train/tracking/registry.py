"""Trackers by name. A new one is one file with a `Tracker`, and one line here."""

from collections.abc import Callable
from pathlib import Path

from train.config import TrackingConfig
from train.console import Console
from train.tracking.base import Tracker
from train.tracking.mlflow import MlflowTracker
from train.tracking.none import NoTracker

TRACKERS: dict[str, Callable[[TrackingConfig], Tracker]] = {
    "mlflow": MlflowTracker,
    "none": NoTracker,
}


def make_tracker(config: TrackingConfig, directory: Path, console: Console) -> Tracker:
    """The tracker of a configuration.

    Args:
        config: names it.
        directory: of the run; what the store has not acknowledged yet is kept below.
        console: is told where the store is away.

    Raises:
        TrackingError: its store cannot be used.
    """
    return TRACKERS[config.tracker](config)
