"""How far two engines' answers to the same images are apart."""

import numpy as np
import numpy.typing as npt

from model.manifest import Difference

Array = npt.NDArray[np.floating]


def difference(
    probabilities: Array, cam: Array, reference_probabilities: Array, reference_cam: Array
) -> Difference:
    """The largest differences over a batch.

    Args:
        probabilities: [N, K].
        cam: [N, K, h, w].
        reference_probabilities: what they should be, [N, K].
        reference_cam: what they should be, [N, K, h, w].

    Returns:
        The absolute difference of probabilities, and that of the maps relative to the largest
        value in any of the same image's maps. An image without any activation is compared
        absolutely.
    """
    largest = reference_cam.max(axis=(1, 2, 3))
    scale = np.where(largest > 0, largest, 1.0)[:, None, None, None]
    return Difference(
        probabilities=_largest(probabilities - reference_probabilities),
        cam=_largest((cam - reference_cam) / scale),
    )


def _largest(values: Array) -> float:
    # An engine that answers NaN is infinitely far off; max() alone could let it pass.
    worst = float(np.abs(values).max(initial=0.0))
    return worst if np.isfinite(worst) else float("inf")
