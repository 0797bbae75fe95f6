"""Where runs are recorded."""

from train.tracking.base import Status, Tracker
from train.tracking.recorded import ending, recorded
from train.tracking.registry import TRACKERS, make_tracker

__all__ = ["TRACKERS", "Status", "Tracker", "ending", "make_tracker", "recorded"]
