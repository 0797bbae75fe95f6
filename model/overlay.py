"""A class activation map laid over its image."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.png import encode_png

# Anchors of the colour scale, from faint to strong: yellow, orange, red, crimson. Brightness falls
# steadily, so the order survives a grey print and the common colour-vision deficiencies.
_ANCHORS = np.array(
    [(255, 225, 80), (255, 190, 40), (250, 120, 20), (225, 40, 30), (160, 0, 50)], dtype=np.float32
)
_LEVELS = np.linspace(0.0, 1.0, 256)
_COLOURS = np.stack(
    [np.interp(_LEVELS, np.linspace(0.0, 1.0, len(_ANCHORS)), channel) for channel in _ANCHORS.T],
    axis=1,
)
_PALETTE = np.rint(_COLOURS).astype(np.uint8).tobytes()
# Faint activation is left out: a veil over the whole picture would hide what it should show.
_RAMP = np.clip((_LEVELS - 0.15) / 0.45, 0.0, 1.0)


def upsample(
    cam: npt.NDArray[np.float32], width_px: int, height_px: int
) -> npt.NDArray[np.float32]:
    """Scale one class's map [h, w] to the image, as float [height, width] in 0..1.

    The largest value becomes 1; a map without any activation stays 0.
    """
    peak = float(cam.max())
    unit = cam / peak if peak > 0 else np.zeros_like(cam)
    image = Image.fromarray(np.ascontiguousarray(unit, dtype=np.float32))
    smooth = image.resize((width_px, height_px), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32).clip(0.0, 1.0)


def blend(
    image: npt.NDArray[np.uint8], cam: npt.NDArray[np.float32], opacity: float = 0.6
) -> npt.NDArray[np.uint8]:
    """Colour the image, uint8 [H, W, 3], where the map [h, w] is strong, and only there."""
    height_px, width_px = image.shape[:2]
    strength = upsample(cam, width_px, height_px)
    level = Image.fromarray((strength * np.float32(255) + np.float32(0.5)).astype(np.uint8))
    weight = level.point([int(255 * opacity * part + 0.5) for part in _RAMP])
    drawn = Image.fromarray(image)
    where = weight.getbbox()
    if where is not None:
        colour = level.crop(where)
        colour.putpalette(_PALETTE)
        drawn.paste(colour.convert("RGB"), where, weight.crop(where))
    return np.asarray(drawn)


def overlay_png(
    image: npt.NDArray[np.uint8], cam: npt.NDArray[np.float32], opacity: float = 0.6
) -> bytes:
    """Encode :func:`blend` as PNG."""
    return encode_png(blend(image, cam, opacity))
