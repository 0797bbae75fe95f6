import io

import numpy as np
from PIL import Image

from model.overlay import blend, overlay_png, upsample


def image() -> np.ndarray:
    return np.full((90, 120, 3), 100, np.uint8)


def spot() -> np.ndarray:
    cam = np.zeros((9, 12), np.float32)
    cam[2, 8] = 0.013
    return cam


def test_the_largest_value_becomes_one_where_it_is() -> None:
    large = upsample(spot(), 120, 90)
    assert large.shape == (90, 120)
    row, column = np.unravel_index(int(large.argmax()), large.shape)
    assert 20 <= row < 30
    assert 80 <= column < 90
    assert large.max() > 0.8
    assert large.min() == 0.0


def test_only_the_active_region_is_coloured() -> None:
    drawn = blend(image(), spot())
    changed = (drawn != image()).any(axis=2)
    assert changed[25, 85]
    assert not changed[70:, :40].any()


def test_a_map_without_activation_leaves_the_image() -> None:
    assert np.array_equal(blend(image(), np.zeros((9, 12), np.float32)), image())


def test_opacity_zero_leaves_the_image() -> None:
    assert np.array_equal(blend(image(), spot(), opacity=0.0), image())


def test_the_png_holds_the_blend() -> None:
    read = np.asarray(Image.open(io.BytesIO(overlay_png(image(), spot()))))
    assert np.array_equal(read, blend(image(), spot()))
