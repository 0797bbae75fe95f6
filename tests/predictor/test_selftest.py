from collections.abc import Callable

import numpy as np
import pytest

from model.bundle import Reference
from model.manifest import Precision, Tolerance
from predictor.engine.base import Batch, Device, EngineOutput
from predictor.engine.selftest import self_test

TOLERANCE = Tolerance(probabilities=0.05, cam=0.1)
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.34, 0.33, 0.33]], np.float32)
CAM = np.zeros((2, 3, 2, 2), np.float32)
CAM[:, 0, 0, 0], CAM[:, 1, 1, 1] = 10.0, 0.5
REFERENCE = Reference(np.zeros((2, 4, 4, 3), np.uint8), PROBABILITIES, PROBABILITIES, CAM)

Bend = Callable[[np.ndarray, np.ndarray], None]


class BentEngine:
    """Gives the reference answers, changed by a function of probabilities and maps."""

    name = "bent"
    precision: Precision = "fp32"
    device: Device = "cpu"

    def __init__(self, bend: Bend) -> None:
        self._bend = bend
        self.sizes: list[int] = []

    def run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
        self.sizes.append(len(images))
        probabilities, cam = PROBABILITIES[: len(images)].copy(), CAM[: len(images)].copy()
        self._bend(probabilities, cam)
        return EngineOutput(probabilities, probabilities, cam)

    def close(self) -> None:
        pass


def by(probability: float = 0.0, cam: float = 0.0) -> Bend:
    def bend(probabilities: np.ndarray, maps: np.ndarray) -> None:
        probabilities[0, 1] += probability
        maps[0, 1, 1, 1] += cam

    return bend


def swap_close(probabilities: np.ndarray, maps: np.ndarray) -> None:
    if len(probabilities) > 1:
        probabilities[1, 0] -= 0.02


def swap_clear(probabilities: np.ndarray, maps: np.ndarray) -> None:
    probabilities[0] = (0.1, 0.2, 0.7)


def not_a_number(probabilities: np.ndarray, maps: np.ndarray) -> None:
    probabilities[0, 0] = np.nan


def raises(probabilities: np.ndarray, maps: np.ndarray) -> None:
    raise RuntimeError("no kernel for Conv\nat node 7")


def test_equal_answers_pass_in_full_batches_and_alone() -> None:
    engine = BentEngine(by())
    test = self_test(engine, REFERENCE, TOLERANCE, 8)
    assert test.passed
    assert (test.probabilities, test.cam, test.disagreements) == (0.0, 0.0, 0)
    assert engine.sizes == [2, 1]


def test_a_map_is_measured_against_the_strongest_map_of_its_image() -> None:
    test = self_test(BentEngine(by(cam=0.5)), REFERENCE, TOLERANCE, 8)
    assert test.passed
    assert test.cam == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("bend", "reason"),
    [
        (by(probability=0.06), r"probabilities differ by 0.06; at most 0.05"),
        (by(cam=1.5), r"cam differs by 0.15; at most 0.1"),
        (not_a_number, "probabilities differ by inf"),
        (raises, "it does not run: RuntimeError: no kernel for Conv$"),
    ],
)
def test_what_is_further_off_than_tolerated_may_not_serve(bend: Bend, reason: str) -> None:
    test = self_test(BentEngine(bend), REFERENCE, TOLERANCE, 8)
    assert not test.passed
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(test.reason)


def test_another_class_is_tolerated_only_where_the_reference_itself_is_undecided() -> None:
    wide = Tolerance(probabilities=0.05, cam=0.1)
    assert self_test(BentEngine(swap_close), REFERENCE, wide, 8).passed
    # So wide that only the class tells: the reference's margin of 0.5 exceeds twice 0.2.
    loose = Tolerance(probabilities=0.2, cam=0.1)
    assert not self_test(BentEngine(swap_clear), REFERENCE, loose, 8).passed


def test_a_clear_class_that_changes_is_counted() -> None:
    def nudge(probabilities: np.ndarray, maps: np.ndarray) -> None:
        probabilities[0] = (0.44, 0.46, 0.1)

    tolerance = Tolerance(probabilities=0.24, cam=0.1)
    reference = Reference(REFERENCE.image[:1], PROBABILITIES[:1], PROBABILITIES[:1], CAM[:1])
    test = self_test(BentEngine(nudge), reference, tolerance, 8)
    assert test.probabilities == pytest.approx(0.26)
    assert test.disagreements == 1
    assert not test.passed


def test_answers_of_another_shape_may_not_serve() -> None:
    class Narrow(BentEngine):
        def run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
            output = super().run(images, want_cam=want_cam)
            assert output.cam is not None
            return EngineOutput(output.logits, output.probabilities, output.cam[:, :, :1])

    test = self_test(Narrow(by()), REFERENCE, TOLERANCE, 8)
    assert test.reason == "cam has shape (2, 3, 1, 2), not (2, 3, 2, 2)"
