"""Batches side by side, one on each CPU, instead of one batch on all of them.

On two CPUs resnet18 took 17.6 ms of CPU an image with one thread and 19.5 with two; a request for a
JPEG, whose decoding takes a CPU from the two now and then, 23 to 24 ms with lanes and 27 to 28
without.
"""

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from model.bundle import Bundle
from predictor.engine.base import Batch, Engine, EngineKind
from predictor.engine.race import batch_of
from predictor.engine.selftest import self_test

LOGGER = logging.getLogger("sightline.engine")

# With more CPUs than this a few users would leave most of them idle.
_MOST_LANES = 4
# Those of which one loaded artefact may be run by several threads at once.
_CONCURRENT = ("onnxruntime",)


def open_lane(
    engine: Engine,
    bundle: Bundle,
    kinds: Mapping[str, EngineKind],
    threads: int,
    max_batch_size: int,
) -> Engine | None:
    """The same artefact on one thread, to be run by as many threads at once as there are CPUs.

    Args:
        engine: the one that has all CPUs, already tested.
        bundle: its bundle.
        kinds: where to open another.
        threads: CPUs of the engine.
        max_batch_size: most images of a batch.

    Returns:
        None where lanes are of no use, or if it does not load or reproduce the reference answers:
        the engine alone can serve.
    """
    if engine.device != "cpu" or engine.name not in _CONCURRENT or not 1 < threads <= _MOST_LANES:
        return None
    kind = kinds[engine.name]
    file = bundle.path / kind.artefacts[engine.precision]
    try:
        lane = kind.open(file, engine.precision, 1)
    except Exception as error:  # noqa: BLE001 - a runtime may raise anything
        reason: str | None = f"{file.name} does not load again: {type(error).__name__}: {error}"
    else:
        reference, tolerance = bundle.reference(), bundle.manifest.tolerance[engine.precision]
        reason = self_test(lane, reference, tolerance, max_batch_size).reason
        if reason is None:
            _run_together(lane, batch_of(reference.image, max_batch_size), threads)
            return lane
        lane.close()
    LOGGER.warning("no lanes", extra={"data": {"reason": reason}})
    return None


def _run_together(lane: Engine, batch: Batch, count: int) -> None:
    """Run a full batch several times at once: the memory is taken now, and not under load."""
    ready = threading.Barrier(count)

    def run(_: int) -> None:
        ready.wait()
        lane.run(batch, want_cam=True)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, range(count)))
