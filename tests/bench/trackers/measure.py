"""One round of one tracker, and what is there afterwards."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench.trackers.contestants import Contestant
from tests.bench.trackers.workload import FIGURES, Workload
from train.errors import TrackingError
from train.tracking import Tracker, ending

_PARAMS = {f"loop.setting_{number}": str(number) for number in range(60)}


@dataclass(frozen=True)
class Round:
    """Seconds by the clock, and bytes.

    Attributes:
        begin_s: until the run was begun; for a server, that it is there.
        steps_s: all steps, figures logged at each.
        artefact_call_s: until training could go on after the artefact was handed over.
        artefact_s: until the store had it.
        end_s: until the last figure was in the store and the run closed.
        disk_bytes: what the run added, artefact included.
        run_id: ours.
    """

    begin_s: float
    steps_s: float
    artefact_call_s: float
    artefact_s: float
    end_s: float
    disk_bytes: int
    run_id: str


def measure(contestant: Contestant, work: Workload, artefact: Path) -> Round:
    """Record the work once."""
    before = _bytes(contestant.places)
    tracker = contestant.tracker()
    started = time.perf_counter()
    tracker.begin("bench", _PARAMS, {"step": "fit"})
    begun = time.perf_counter()
    steps_s = work.train(tracker.log_metrics)
    # The figures first, so that the artefact's time is its own.
    _settle(tracker)
    handing = time.perf_counter()
    tracker.log_files(artefact, "bundle")
    handed = time.perf_counter()
    _settle(tracker)
    there = time.perf_counter()
    tracker.end("FINISHED")
    ended = time.perf_counter()
    return Round(
        begin_s=begun - started,
        steps_s=steps_s,
        artefact_call_s=handed - handing,
        artefact_s=there - handing,
        end_s=ended - there,
        disk_bytes=_bytes(contestant.places) - before,
        run_id=tracker.run_id,
    )


@dataclass(frozen=True)
class Kept:
    """What can be read back of a run: shares of what was recorded, 1.0 for all of it, once."""

    params: float
    figures: float
    artefacts: float
    nested: bool
    registry: bool


def kept(contestant: Contestant, work: Workload, artefact: Path, run_id: str) -> Kept | None:
    """Read a measured run back, and try what else the store can do; None where there is none."""
    outer_id, inner_id = _nested(contestant)
    seen = contestant.look(run_id)
    if seen is None:
        return None
    files = {f"bundle/{file.name}": file.read_bytes() for file in artefact.iterdir()}
    once = sum(len(values) == 1 for values in seen.metrics.values())
    inner = contestant.look(inner_id)
    return Kept(
        params=sum(seen.params.get(key) == value for key, value in _PARAMS.items()) / len(_PARAMS),
        figures=once / (FIGURES * work.steps),
        artefacts=sum(seen.files.get(name) == data for name, data in files.items()) / len(files),
        nested=inner is not None and inner.parent == outer_id,
        registry=contestant.has_registry(),
    )


def _nested(contestant: Contestant) -> tuple[str, str]:
    outer, inner = contestant.tracker(), contestant.tracker()
    with ending(outer):
        outer_id = outer.begin("outer", {}, {})
        with ending(inner):
            inner_id = inner.begin("inner", {}, {}, outer_id)
    return outer_id, inner_id


def _settle(tracker: Tracker) -> None:
    # A server that is away has nothing, and training would go on.
    with suppress(TrackingError):
        tracker.sync()


def _bytes(places: list[Path]) -> int:
    # By blocks and not by names: what is linked twice is there once.
    found = {
        (file.stat().st_dev, file.stat().st_ino): file.stat().st_blocks * 512
        for place in places
        for file in place.rglob("*")
        if file.is_file() and not file.is_symlink()
    }
    return sum(found.values())
