"""Does this engine, with this artefact, on this machine, give the answers that were released?

The same INT8 file has been seen 1.4 % off in one engine and 13.6 % off in another, so the checksum
of a file says nothing about its answers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.bundle import Reference
from model.manifest import Tolerance
from model.parity import difference
from predictor.engine.base import Batch, Engine


@dataclass(frozen=True, slots=True)
class SelfTest:
    """How far an engine is from the reference answers.

    Attributes:
        probabilities: largest absolute difference of a probability.
        cam: largest difference of a map, relative to the largest value in any of the same
            image's reference maps (see `model.parity`).
        disagreements: images whose predicted class differs, although the reference's two most
            probable classes are further apart than twice the tolerance.
        reason: why the engine may not serve; None if it may.
    """

    probabilities: float
    cam: float
    disagreements: int
    reason: str | None

    @property
    def passed(self) -> bool:
        return self.reason is None


class _Answers(NamedTuple):
    probabilities: npt.NDArray[np.float32]
    cam: npt.NDArray[np.float32]


def self_test(
    engine: Engine, reference: Reference, tolerance: Tolerance, max_batch_size: int
) -> SelfTest:
    """Compare an engine with the reference answers, in full batches and with one image alone."""
    try:
        answers = _answers(engine, reference.image, max_batch_size)
        alone = _answers(engine, reference.image[:1], 1)
    except Exception as error:  # noqa: BLE001 - a runtime may raise anything; none may serve then
        return _failed(f"it does not run: {_first_line(error)}")
    if answers.probabilities.shape != reference.probabilities.shape:
        return _failed(
            f"probabilities have shape {answers.probabilities.shape}, "
            f"not {reference.probabilities.shape}"
        )
    if answers.cam.shape != reference.cam.shape:
        return _failed(f"cam has shape {answers.cam.shape}, not {reference.cam.shape}")
    whole = _compare(answers, reference, tolerance)
    first = Reference(
        reference.image[:1],
        reference.logits[:1],
        reference.probabilities[:1],
        reference.cam[:1],
    )
    single = _compare(alone, first, tolerance)
    return whole if not whole.passed else single if not single.passed else whole


def _compare(answers: _Answers, reference: Reference, tolerance: Tolerance) -> SelfTest:
    found = difference(answers.probabilities, answers.cam, reference.probabilities, reference.cam)
    ordered = np.sort(reference.probabilities, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 2 * tolerance.probabilities
    other = answers.probabilities.argmax(axis=1) != reference.probabilities.argmax(axis=1)
    disagreements = int(np.count_nonzero(clear & other))
    reason = None
    if not found.probabilities <= tolerance.probabilities:
        reason = (
            f"probabilities differ by {found.probabilities:.3g}; "
            f"at most {tolerance.probabilities:.3g} is tolerated"
        )
    elif not found.cam <= tolerance.cam:
        reason = f"cam differs by {found.cam:.3g}; at most {tolerance.cam:.3g} is tolerated"
    elif disagreements:
        reason = f"{disagreements} of {len(reference.image)} images get another class"
    return SelfTest(found.probabilities, found.cam, disagreements, reason)


def _answers(engine: Engine, images: Batch, size: int) -> _Answers:
    parts = [
        engine.run(images[start : start + size], want_cam=True)
        for start in range(0, len(images), size)
    ]
    maps = [part.cam for part in parts if part.cam is not None]
    return _Answers(np.concatenate([part.probabilities for part in parts]), np.concatenate(maps))


def _failed(reason: str) -> SelfTest:
    return SelfTest(float("inf"), float("inf"), 0, reason)


def _first_line(error: Exception) -> str:
    lines: Iterable[str] = str(error).splitlines()
    return f"{type(error).__name__}: {next(iter(lines), '')[:300]}"
