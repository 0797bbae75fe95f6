"""The tracked runs of a search: one of its own, and one nested in it for each trial."""

from contextlib import suppress
from pathlib import Path

from optuna.study import Study

from train.config import TrackingConfig, TrainConfig, flatten
from train.console import Console
from train.errors import RunError, TrackingError
from train.run import TRACKING, Tracked
from train.search.config import SearchConfig
from train.tracking import Status, Tracker, make_tracker

_RUN = "tracked_run"


def begin_run(study: Study, search: SearchConfig, config: TrainConfig, tracker: Tracker) -> str:
    """Begin the search's own run, or go on with the one that the study already has.

    Returns:
        The run's id.
    """
    earlier = study.user_attrs.get(_RUN)
    if earlier is not None and earlier["tracker"] == config.tracking.tracker:
        tracker.resume(earlier["run_id"])
        return str(earlier["run_id"])
    params = {key: str(value) for key, value in flatten(config).items()}
    params |= {f"search.{key}": str(v) for key, v in search.model_dump(mode="json").items()}
    # It may hold a password.
    params.pop("search.storage")
    run_id = tracker.begin(search.name, params, {"step": "tune", "model": config.name})
    study.set_user_attr(_RUN, {"tracker": config.tracking.tracker, "run_id": run_id})
    return run_id


def run_of(directory: Path) -> str | None:
    """Id of the tracked run that a trial has begun in its directory."""
    try:
        text = (directory / TRACKING).read_text(encoding="utf-8")
    except OSError:
        return None
    return Tracked.model_validate_json(text).run_id


def end_run(
    config: TrackingConfig, directory: Path, console: Console, run_id: str, status: Status
) -> None:
    """End the run of a trial whose process could not do so itself."""
    with suppress(TrackingError, RunError):
        tracker = make_tracker(config, directory, console)
        tracker.resume(run_id)
        tracker.end(status)
