import numpy as np
import numpy.typing as npt
import pytest

from train.assessment.measures import Measures
from train.assessment.scored import Ints, Scored
from train.calibrate import calibrated, fit_temperature
from train.intensity import intensity_baseline
from train.metrics import evaluate_probabilities, macro_f1


def calibration_error(probabilities: npt.NDArray[np.floating], labels: Ints) -> float:
    measures = Measures(Scored.of(labels, probabilities), 0.0, ())
    return float(measures(np.ones((1, len(labels))))["ece"][0])


def test_macro_f1_counts_a_class_that_is_never_predicted_as_zero() -> None:
    labels = np.array([0, 0, 1, 1])
    assert macro_f1(labels, np.array([0, 0, 0, 0]), 2) == pytest.approx((2 / 3 + 0) / 2)
    assert macro_f1(labels, labels, 2) == 1.0


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    true_logits = rng.normal(size=(4000, 3)) * 1.5
    labels = np.array([rng.choice(3, p=row) for row in calibrated(true_logits, 1.0)])
    assert fit_temperature(true_logits * 3.0, labels) == pytest.approx(3.0, rel=0.1)
    assert fit_temperature(true_logits / 2.0, labels) == pytest.approx(0.5, rel=0.1)


def test_scaling_lowers_the_calibration_error_and_keeps_the_order() -> None:
    rng = np.random.default_rng(1)
    true_logits = rng.normal(size=(4000, 3))
    labels = np.array([rng.choice(3, p=row) for row in calibrated(true_logits, 1.0)])
    logits = true_logits * 4.0
    before = calibrated(logits, 1.0)
    after = calibrated(logits, fit_temperature(logits, labels))
    assert calibration_error(after, labels) < 0.05
    assert calibration_error(before, labels) > 0.2
    assert np.array_equal(before.argmax(1), after.argmax(1))


def test_perfect_validation_keeps_the_temperature_bounded() -> None:
    logits = np.array([[5.0, -5.0], [-5.0, 5.0]])
    assert fit_temperature(logits, np.array([0, 1])) >= 0.1


def test_the_manifests_figures() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.5, 0.2, 0.3]])
    labels = np.array([0, 1, 1, 0])
    metrics = evaluate_probabilities(probabilities, probabilities, labels, ["a", "b", "c"])
    assert metrics.accuracy == 0.75
    assert metrics.confusion == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert metrics.per_class["a"].precision == pytest.approx(2 / 3)
    assert metrics.per_class["b"].recall == 0.5
    assert metrics.per_class["b"].auroc == 1.0
    assert metrics.per_class["c"].auroc is None
    assert metrics.per_class["c"].support == 0
    assert metrics.images == 4


def test_brightness_alone_tells_bright_from_dark_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    noise = rng.integers(0, 100, (80, 16, 16, 3))
    train, test = np.arange(40), np.arange(40, 80)
    bright = (noise + 100 * labels[:, None, None, None]).astype(np.uint8)
    assert intensity_baseline(bright, labels, train, test) == 1.0
    assert intensity_baseline(noise.astype(np.uint8), labels, train, test) < 0.75
