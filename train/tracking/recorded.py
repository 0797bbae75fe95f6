"""A run that ends however the work in it ends."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from model.errors import SightlineError
from train.config import TrackingConfig
from train.console import Console
from train.errors import PrunedError, TrackingError
from train.tracking.base import Tracker
from train.tracking.registry import make_tracker


@contextmanager
def recorded(
    config: TrackingConfig,
    directory: Path,
    console: Console,
    name: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    parent: str | None = None,
) -> Iterator[Tracker]:
    """Record a new run while the block runs, such as a search that other runs are nested in.

    Args:
        config: the tracker.
        directory: what the store has not acknowledged yet is kept here.
        console: is told where the store is away.
        name: what people see.
        params: of the run.
        tags: of the run.
        parent: id of the run that this one is nested in, as its tracker's `run_id` has it.
    """
    tracker = make_tracker(config, directory, console)
    with ending(tracker):
        tracker.begin(name, params, tags, parent)
        yield tracker


@contextmanager
def ending(tracker: Tracker) -> Iterator[None]:
    """End the tracked run with the status that the block deserves."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, PrunedError):
        with suppress(TrackingError):
            tracker.end("KILLED")
        raise
    except BaseException as error:
        # A store that is gone must not hide what went wrong.
        if isinstance(error, SightlineError):
            with suppress(TrackingError):
                tracker.set_tags({"error": str(error)[:4000]})
        with suppress(TrackingError):
            tracker.end("FAILED")
        raise
    else:
        tracker.end("FINISHED")
