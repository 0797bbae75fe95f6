"""A class activation map laid over its image."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

# Anchors of the colour scale, from faint to strong: yellow, orange, red, crimson. Brightness falls
# steadily, so the order survives a grey print and the common colour-vision deficiencies.
_ANCHORS = np.array(
    [(255, 225, 80), (255, 190, 40), (250, 120, 20), (225, 40, 30), (160, 0, 50)], dtype=np.float32
)
_LEVELS = np.linspace(0.0, 1.0, 256)
_COLOURS = np.stack(
    [np.interp(_LEVELS, np.linspace(0.0, 1.0, len(_ANCHORS)), channel) for channel in _ANCHORS.T],
    axis=1,
).astype(np.float32)


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
    colour = _COLOURS[np.rint(strength * 255).astype(np.uint8)]
    # Faint activation is left out: a veil over the whole picture would hide what it should show.
    weight = (opacity * np.clip((strength - 0.15) / 0.45, 0.0, 1.0))[..., None]
    mixed: npt.NDArray[np.float32] = image * (1.0 - weight) + colour * weight
    return np.rint(mixed).astype(np.uint8)


def overlay_png(
    image: npt.NDArray[np.uint8], cam: npt.NDArray[np.float32], opacity: float = 0.6
) -> bytes:
    """Encode :func:`blend` as PNG."""
    return encode_png(blend(image, cam, opacity))


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """uint8 [H, W, 3] -> PNG, compressed lightly: the time is better spent on the next request."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
