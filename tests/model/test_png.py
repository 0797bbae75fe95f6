import io

import numpy as np
import pytest
from PIL import Image

from model.png import encode_png


def read(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        image.verify()
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


@pytest.mark.parametrize(("height_px", "width_px"), [(1, 1), (1, 7), (9, 1), (97, 131), (512, 512)])
def test_another_decoder_reads_every_pixel_back(height_px: int, width_px: int) -> None:
    image = np.random.default_rng(7).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    assert np.array_equal(read(encode_png(image)), image)


def test_a_part_of_a_picture_need_not_be_contiguous() -> None:
    image = np.random.default_rng(8).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    part = image[3:40:2, 5:50]
    assert np.array_equal(read(encode_png(part)), part)


def test_a_smooth_picture_is_small() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 256, axis=1)
    image = np.stack([ramp] * 3, axis=2)
    assert len(encode_png(image)) < image.nbytes / 100


@pytest.mark.parametrize("shape", [(8, 8, 4), (8, 8, 1)])
def test_other_than_rgb_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="accepted: uint8"):
        encode_png(np.zeros(shape, np.uint8))
