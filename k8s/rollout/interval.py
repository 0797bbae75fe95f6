"""Interval of a share."""

import math
from statistics import NormalDist


def wilson(events: float, of: float, confidence: float = 0.95) -> tuple[float, float]:
    """Where a share may lie of which a sample is known (Wilson 1927); 0 to 1 without a sample.

    Args:
        events: that were counted.
        of: how many there were.
        confidence: that the interval holds the share.
    """
    if not of:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = events / of
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    # Without an event, or with nothing else, rounding would leave an end a hair off.
    low = (middle - half) / scale if events else 0.0
    high = (middle + half) / scale if events < of else 1.0
    return low, high
