"""How fast engines are, measured against each other in turns and within a bounded time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from predictor.engine.base import Batch, Engine
from predictor.engine.selftest import SelfTest

ExpectedLoad = Literal["latency", "balanced", "throughput"]

# Share of the images that travel in full batches. With ten or more clients nearly all do; a single
# client's never do. A pod that is scaled by its load sees both.
FULL_BATCH_SHARE: dict[ExpectedLoad, float] = {"latency": 0.0, "balanced": 0.7, "throughput": 1.0}

ROUNDS = 25
# Untimed, for runtimes that compile or tune themselves in their first runs of a shape; the
# self-test has run each shape once already.
WARM_UPS = 2
# For one pair of engines. A graph of many seconds per batch gets one round, which then is enough.
BUDGET_S = 6.0
# After this many rounds a clear winner needs no further ones.
CLEAR_ROUNDS, CLEAR_RATIO = 5, 2.0


@dataclass(slots=True)
class Candidate:
    """An engine with an artefact, what the self-test said and how fast it is.

    Attributes:
        seconds: run times by batch size.
    """

    engine: Engine
    test: SelfTest
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def batch_s(self, size: int) -> float:
        """Seconds of a batch: the lower quartile, for other processes only ever add to a time."""
        return float(np.quantile(self.seconds[size], 0.25))

    def images_per_second(self, batch: int) -> float:
        return batch / self.batch_s(batch)

    def score(self, max_batch_size: int, load: ExpectedLoad = "balanced") -> float:
        """Images per second of a load whose images come partly in full batches, else one by one.

        That is 1 / (s t_full + (1 - s) t_1), where s is the share of those in full batches and t
        the time per image.
        """
        share = FULL_BATCH_SHARE[load]
        full = share / self.images_per_second(max_batch_size)
        return 1.0 / (full + (1.0 - share) / self.images_per_second(1))


def race(
    candidates: Sequence[Candidate], images: Batch, max_batch_size: int, load: ExpectedLoad
) -> Candidate:
    """Time one or two candidates in turns, one image and a full batch at a time.

    Earlier times of theirs are forgotten, so what is compared was measured together.

    Returns:
        The faster one for the expected load.
    """
    sizes = sorted({1, max_batch_size})
    batches = {size: batch_of(images, size) for size in sizes}
    end = time.perf_counter() + BUDGET_S
    for candidate in candidates:
        candidate.seconds = {size: [] for size in sizes}
    for round_number in range(-WARM_UPS, ROUNDS):
        late = time.perf_counter() > end
        if late and all(candidate.seconds[1] for candidate in candidates):
            break
        # Interleaved, so that a disturbance of the machine meets all candidates alike.
        for candidate in candidates:
            for size, batch in batches.items():
                started = time.perf_counter()
                candidate.engine.run(batch, want_cam=False)
                if round_number >= 0 or late:
                    candidate.seconds[size].append(time.perf_counter() - started)
        scores = [each.score(max_batch_size, load) for each in candidates if each.seconds[1]]
        if round_number + 1 >= CLEAR_ROUNDS and max(scores) > CLEAR_RATIO * min(scores):
            break
    return max(candidates, key=lambda each: each.score(max_batch_size, load))


def batch_of(images: Batch, size: int) -> Batch:
    """A batch of any size, of the same few images."""
    return np.ascontiguousarray(np.resize(images, (size, *images.shape[1:])))
