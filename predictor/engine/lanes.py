"""Batches side by side, one on each CPU, instead of one batch on all of them.

On two CPUs resnet18 took 17.6 ms of CPU an image with one thread and 19.5 with two; a request for a
JPEG, whose decoding takes a CPU from the two now and then, 23 to 24 ms with lanes and 27 to 28
without.
"""

import logging
from collections.abc import Mapping

from model.bundle import Bundle
from predictor.engine.base import Engine, EngineKind
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
        None where lanes are of no use, or if it does not reproduce the reference answers.
    """
    if engine.device != "cpu" or engine.name not in _CONCURRENT or not 1 < threads <= _MOST_LANES:
        return None
    kind = kinds[engine.name]
    file = bundle.path / kind.artefacts[engine.precision]
    lane = kind.open(file, engine.precision, 1)
    tolerance = bundle.manifest.tolerance[engine.precision]
    test = self_test(lane, bundle.reference(), tolerance, max_batch_size)
    if test.reason is None:
        return lane
    LOGGER.warning("no lanes", extra={"data": {"reason": test.reason}})
    lane.close()
    return None
