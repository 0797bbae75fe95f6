"""Figures of a histogram."""

import math
from collections.abc import Sequence

# How far below its upper bound the lowest bucket is taken to begin, and how far the open one goes.
_EDGE = 2.0


def quantile(bounds: Sequence[float], counts: Sequence[float], share: float) -> float:
    """A quantile of positive values, in the unit of the bounds.

    Inside a bucket, values are taken to lie evenly on a logarithmic scale.

    Args:
        bounds: ascending, positive upper bounds.
        counts: of each bucket and, last, of what is beyond; not all 0.
        share: 0.5 is the median.
    """
    rank = share * sum(counts)
    below = 0.0
    index = 0
    while counts[index] == 0 or below + counts[index] < rank:
        below += counts[index]
        index += 1
    lower = bounds[index - 1] if index > 0 else bounds[0] / _EDGE
    upper = bounds[index] if index < len(bounds) else bounds[-1] * _EDGE
    return lower * math.exp((rank - below) / counts[index] * math.log(upper / lower))


def mean(bounds: Sequence[float], counts: Sequence[float]) -> float:
    """Mean of values between 0 and the last bound, taken to lie in the middle of their buckets."""
    lower = 0.0
    total = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        total += count * (lower + bound) / 2
        lower = bound
    total += counts[-1] * bounds[-1]
    return total / sum(counts)
