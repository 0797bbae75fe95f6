"""The pictures that are sent: the same to every server."""

import io
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

COUNT = 8
_QUALITY = 90


class Picture(NamedTuple):
    """One picture as a file, and as the network's input, uint8 [H, W, 3]."""

    jpeg: bytes
    pixels: Pixels


@cache
def pictures(side_px: int, input_px: int, count: int = COUNT) -> tuple[Picture, ...]:
    """Smooth, slightly noisy and different pictures.

    Args:
        side_px: of the file.
        input_px: of the network's input.
        count: how many.
    """
    return tuple(_picture(side_px, input_px, seed) for seed in range(count))


def _picture(side_px: int, input_px: int, seed: int) -> Picture:
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side_px, side_px), Image.Resampling.BICUBIC))
    noise = generator.normal(0.0, 4.0, (side_px, side_px, 1))
    image = Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=_QUALITY)
    return Picture(buffer.getvalue(), np.asarray(image.resize((input_px, input_px))))
