"""Do the maps point at the lesion? The pointing game, https://arxiv.org/abs/1608.00507."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.errors import SightlineError


def points_inside(cam: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> bool:
    """Whether the centre of the map's strongest cell lies in the lesion.

    Args:
        cam: one class's map, [h, w].
        mask: True inside the lesion, [H, W], of any size.
    """
    if not cam.max() > 0:
        return False
    row, column = np.unravel_index(int(cam.argmax()), cam.shape)
    y = int((row + 0.5) / cam.shape[0] * mask.shape[0])
    x = int((column + 0.5) / cam.shape[1] * mask.shape[1])
    return bool(mask[y, x])


def hit_rate(
    cams: npt.NDArray[np.float32],
    predicted: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    masks: Sequence[Path | None],
) -> float | None:
    """Share of hits among the correctly classified images that have a mask.

    Args:
        cams: maps of all classes, [N, K, h, w].
        predicted: [N].
        labels: [N].
        masks: the N mask files, None where there is no lesion.

    Returns:
        None when no image qualifies.
    """
    hits = [
        points_inside(cam[label], read_mask(mask))
        for cam, guess, label, mask in zip(cams, predicted, labels, masks, strict=True)
        if mask is not None and guess == label
    ]
    return float(np.mean(hits)) if hits else None


def read_mask(file: Path) -> npt.NDArray[np.bool_]:
    """True inside the lesion, [H, W]."""
    try:
        with Image.open(file, formats=("PNG",)) as image:
            return np.asarray(image.convert("L")) > 127
    except OSError as error:
        raise SightlineError(f"mask {file} is unreadable: {error}") from error
