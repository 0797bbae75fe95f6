import numpy as np
import pytest

from model.parity import difference


def answers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((3, 2)), rng.random((3, 2, 4, 4))


def test_equal_answers_do_not_differ() -> None:
    probabilities, cam = answers()
    found = difference(probabilities, cam, probabilities, cam)
    assert (found.probabilities, found.cam) == (0.0, 0.0)


def test_cam_is_relative_to_the_images_largest_value() -> None:
    probabilities, cam = answers()
    cam[1] *= 1e-3
    other = cam.copy()
    other[1, 0, 0, 0] += 0.1 * cam[1].max()
    assert difference(probabilities, other, probabilities, cam).cam == pytest.approx(0.1)


def test_probabilities_are_absolute() -> None:
    probabilities, cam = answers()
    other = probabilities.copy()
    other[2, 1] -= 0.25
    assert difference(other, cam, probabilities, cam).probabilities == pytest.approx(0.25)


def test_nan_is_infinitely_far_off() -> None:
    probabilities, cam = answers()
    other = probabilities.copy()
    other[0, 0] = np.nan
    assert difference(other, cam, probabilities, cam).probabilities == float("inf")
    maps = cam.copy()
    maps[0, 0, 0, 0] = np.nan
    assert difference(probabilities, maps, probabilities, cam).cam == float("inf")
