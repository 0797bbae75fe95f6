"""Which engine and which artefact serve: decided at start, on the machine that serves.

Two machines of the same label have given opposite winners, so speed is measured and not assumed;
and what does not pass the self-test is not measured at all.
"""

import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from model.bundle import Bundle, Reference
from model.manifest import Precision
from predictor.engine.base import Batch, Engine, EngineKind
from predictor.engine.selftest import SelfTest, self_test
from predictor.errors import StartError
from predictor.metrics import Metrics

LOGGER = logging.getLogger("sightline.engine")

# Under load nearly all images travel in full batches; alone they come when nobody else is waiting.
FULL_BATCH_SHARE = 0.7
ROUNDS = 5
# Untimed, for runtimes that compile or tune themselves in their first runs of a shape.
WARM_UPS = 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an engine with an artefact may not serve; `absent` if it was never there to try."""

    label: str
    reason: str
    absent: bool = False

    def __str__(self) -> str:
        return f"{self.label}: {self.reason}"


@dataclass(slots=True)
class Candidate:
    """An engine with an artefact, what the self-test said and how fast it is.

    Attributes:
        seconds: run times by batch size.
    """

    engine: Engine
    test: SelfTest
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def images_per_second(self, batch: int) -> float:
        return batch / statistics.median(self.seconds[batch])

    def score(self, max_batch_size: int) -> float:
        """Images per second of a load that arrives by 70 % in full batches, else one by one.

        That is 1 / (0.7 t_full + 0.3 t_1), where t is the median time per image.
        """
        full = FULL_BATCH_SHARE / self.images_per_second(max_batch_size)
        return 1.0 / (full + (1.0 - FULL_BATCH_SHARE) / self.images_per_second(1))


def choose(
    bundle: Bundle,
    kinds: Mapping[str, EngineKind],
    *,
    engine: str = "auto",
    precision: str = "auto",
    max_batch_size: int = 8,
    threads: int = 1,
    metrics: Metrics | None = None,
) -> Candidate:
    """Open all that the settings allow, keep what passes the self-test, take the fastest.

    The winner has been run at every batch size up to the limit. The others are closed.

    Raises:
        StartError: nothing is eligible; says why for each.
    """
    reference = bundle.reference()
    eligible: list[Candidate] = []
    refused: list[Refusal] = []
    for name, kind in kinds.items():
        for each in kind.artefacts:
            if engine in ("auto", name) and precision in ("auto", each):
                found = _try(name, kind, bundle, each, reference, threads, max_batch_size, metrics)
                if isinstance(found, Candidate):
                    eligible.append(found)
                else:
                    refused.append(found)
    for refusal in refused:
        level = logging.INFO if refusal.absent else logging.WARNING
        LOGGER.log(level, "engine not eligible", extra={"data": {"reason": str(refusal)}})
    if not eligible:
        raise StartError(_none_eligible(engine, precision, kinds, refused))
    return _fastest(eligible, reference.image, max_batch_size, metrics)


def _try(
    name: str,
    kind: EngineKind,
    bundle: Bundle,
    precision: Precision,
    reference: Reference,
    threads: int,
    max_batch_size: int,
    metrics: Metrics | None,
) -> Candidate | Refusal:
    label = f"{name}/{precision}"
    unavailable = kind.unavailable()
    if unavailable is not None:
        return Refusal(label, unavailable, absent=True)
    if precision not in bundle.precisions:
        reason = f"the bundle ships no {precision} artefact: {bundle.manifest.quantisation.reason}"
        return Refusal(label, reason, absent=True)
    file = kind.artefacts[precision]
    try:
        engine = kind.open(bundle.path / file, precision, threads)
    except Exception as error:  # noqa: BLE001 - a runtime may raise anything
        first_line = next(iter(str(error).splitlines()), "")[:300]
        return Refusal(label, f"{file} does not load: {type(error).__name__}: {first_line}")
    test = self_test(engine, reference, bundle.manifest.tolerance[precision], max_batch_size)
    _record_test(engine, test, metrics)
    if test.reason is not None:
        engine.close()
        return Refusal(label, f"self-test: {test.reason}")
    return Candidate(engine, test)


def _fastest(
    eligible: Sequence[Candidate], images: Batch, max_batch_size: int, metrics: Metrics | None
) -> Candidate:
    sizes = sorted({1, max_batch_size})
    for round_number in range(WARM_UPS + ROUNDS):
        # Interleaved, so that a disturbance of the machine meets all candidates alike.
        for candidate in eligible:
            for size in sizes:
                seconds = _time(candidate.engine, _batch(images, size))
                if round_number >= WARM_UPS:
                    candidate.seconds.setdefault(size, []).append(seconds)
    ranked = sorted(eligible, key=lambda each: each.score(max_batch_size), reverse=True)
    for candidate in ranked:
        _record_speed(candidate, sizes, max_batch_size, candidate is ranked[0], metrics)
    for loser in ranked[1:]:
        with suppress(Exception):
            loser.engine.close()
    winner = ranked[0]
    for size in range(1, max_batch_size + 1):
        winner.engine.run(_batch(images, size), want_cam=True)
    return winner


def _batch(images: Batch, size: int) -> Batch:
    return np.ascontiguousarray(np.resize(images, (size, *images.shape[1:])))


def _time(engine: Engine, batch: Batch) -> float:
    start = time.perf_counter()
    engine.run(batch, want_cam=False)
    return time.perf_counter() - start


def _record_test(engine: Engine, test: SelfTest, metrics: Metrics | None) -> None:
    if metrics is not None:
        labels = (engine.name, engine.precision)
        metrics.selftest_passed.labels(*labels).set(test.passed)
        metrics.selftest_difference.labels(*labels, "probabilities").set(test.probabilities)
        metrics.selftest_difference.labels(*labels, "cam").set(test.cam)


def _record_speed(
    candidate: Candidate,
    sizes: Sequence[int],
    max_batch_size: int,
    chosen: bool,
    metrics: Metrics | None,
) -> None:
    engine = candidate.engine
    speeds = {size: round(candidate.images_per_second(size), 1) for size in sizes}
    data = {
        "engine": engine.name,
        "precision": engine.precision,
        "device": engine.device,
        "chosen": chosen,
        "images_per_second": {str(size): speed for size, speed in speeds.items()},
        "score": round(candidate.score(max_batch_size), 1),
        "probabilities_difference": candidate.test.probabilities,
        "cam_difference": candidate.test.cam,
    }
    LOGGER.info("engine measured", extra={"data": data})
    if metrics is not None:
        for size, speed in speeds.items():
            gauge = metrics.engine_images_per_second
            gauge.labels(engine.name, engine.precision, str(size)).set(speed)


def _none_eligible(
    engine: str, precision: str, kinds: Mapping[str, EngineKind], refused: Sequence[Refusal]
) -> str:
    wanted = f"engine {engine}, precision {precision}"
    if not refused:
        readers = [name for name, kind in kinds.items() if precision in kind.artefacts]
        return f"{wanted}: there is no such artefact; {precision} is read by {', '.join(readers)}"
    return f"{wanted}: nothing is eligible: {'; '.join(map(str, refused))}"
