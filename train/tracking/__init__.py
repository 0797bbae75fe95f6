"""Trackers by name. A new one is one file with a `Tracker`, and one line here."""

from collections.abc import Callable

from train.config import TrackingConfig
from train.tracking.base import Status, Tracker
from train.tracking.mlflow import MlflowTracker
from train.tracking.none import NoTracker

__all__ = ["TRACKERS", "Status", "Tracker", "make_tracker"]

TRACKERS: dict[str, Callable[[TrackingConfig], Tracker]] = {
    "mlflow": MlflowTracker,
    "none": NoTracker,
}


def make_tracker(config: TrackingConfig) -> Tracker:
    return TRACKERS[config.tracker](config)
