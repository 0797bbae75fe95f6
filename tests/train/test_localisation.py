from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.errors import SightlineError
from train.localisation import hit_rate, points_inside, read_mask


def cam(row: int, column: int) -> np.ndarray:
    made = np.zeros((4, 5), np.float32)
    made[row, column] = 0.5
    return made


def mask() -> np.ndarray:
    made = np.zeros((80, 200), bool)
    made[20:40, 120:160] = True
    return made


def test_the_strongest_cell_is_looked_up_in_the_mask() -> None:
    assert points_inside(cam(1, 3), mask())
    assert not points_inside(cam(1, 2), mask())
    assert not points_inside(cam(2, 3), mask())


def test_a_map_without_activation_is_a_miss() -> None:
    assert not points_inside(np.zeros((4, 5), np.float32), np.ones((8, 8), bool))


def test_only_right_answers_with_a_mask_count(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    Image.fromarray(mask().astype(np.uint8) * 255).save(file)
    hit, miss = cam(1, 3), cam(0, 0)
    cams = np.stack([np.stack([miss, hit])] * 2 + [np.stack([hit, miss])] * 2)
    predicted = np.array([1, 0, 1, 0])
    labels = np.array([1, 1, 1, 0])
    assert hit_rate(cams, predicted, labels, [file, file, file, None]) == 0.5
    assert hit_rate(cams, predicted, labels, [None] * 4) is None


def test_an_unreadable_mask_is_named(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("no")
    with pytest.raises(SightlineError, match=r"mask\.png is unreadable"):
        read_mask(tmp_path / "mask.png")
