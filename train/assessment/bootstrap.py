"""Confidence intervals by the bootstrap, with patients drawn instead of images.

The images of a patient resemble each other. Drawn one by one they would pass for independent, and
every interval would come out too narrow; so whole patients are drawn, each with all its images:
the cluster bootstrap, Davison and Hinkley, Bootstrap Methods and their Application (1997), 3.8.

The intervals are bias-corrected percentiles, Efron (1981), https://www.jstor.org/stable/3314608,
because some figures are biased in resamples: the calibration error of one is nearly always larger
than that of the images themselves.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from train.assessment.scored import Floats, Ints

# Numbers in a block of weights: small enough to stay near the processor.
_BLOCK = 1 << 20
# An interval from the resamples in which a figure exists says little when those are few.
_LEAST_DEFINED = 0.5
# Less than this is rounding.
_SAME = 1e-12


@dataclass(frozen=True)
class Resamples:
    """How often each patient is drawn.

    Attributes:
        counts: [R, G]; each row sums to G.
        confidence: share of the resampled figures that lie in an interval.
    """

    counts: npt.NDArray[np.uint16]
    confidence: float

    @classmethod
    def draw(cls, groups: int, number: int, confidence: float, seed: int) -> "Resamples":
        """Draw G of G patients with replacement, `number` times."""
        rng = np.random.default_rng(seed)
        shares = np.full(groups, 1.0 / groups)
        counts = np.empty((number, groups), dtype=np.uint16)
        for row in counts:
            row[:] = rng.multinomial(groups, shares)
        return cls(counts, confidence)

    def blocks(self, groups: Ints) -> Iterator[Floats]:
        """Weights of images, [R', N] at a time; `groups` [N] tells the patient of each."""
        rows = max(1, _BLOCK // max(1, len(groups)))
        for start in range(0, len(self.counts), rows):
            yield self.counts[start : start + rows, groups].astype(np.float64)

    def over(
        self, groups: Ints, measure: Callable[[Floats], Mapping[str, Floats]]
    ) -> dict[str, Floats]:
        """A function of weights [R', N] over all resamples; its values are stacked to [R, ...]."""
        parts = [measure(weights) for weights in self.blocks(groups)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def interval(self, value: float, values: Floats) -> tuple[float, float] | str:
        """Interval of a figure from its R resampled values, or why there is none.

        A resample in which the figure is not defined, NaN, is left out.
        """
        if self.counts.shape[1] < 2:
            return "only one patient"
        defined = values[np.isfinite(values)]
        if len(defined) < _LEAST_DEFINED * len(values):
            return f"defined in only {len(defined)} of {len(values)} resamples"
        if np.ptp(defined) <= _SAME:
            return "all resamples give the same"
        # Half of what is equal counts as below: many figures take few values.
        below = np.mean(defined < value - _SAME) / 2.0 + np.mean(defined <= value + _SAME) / 2.0
        bias = float(ndtri(np.clip(below, 1.0 / len(defined), 1.0 - 1.0 / len(defined))))
        reach = float(ndtri((1.0 + self.confidence) / 2.0))
        low, high = np.quantile(defined, ndtr([2.0 * bias - reach, 2.0 * bias + reach]))
        # The bias may be larger than the correction reaches; an interval without its own figure
        # would puzzle, and this one is a little too wide.
        return min(float(low), value), max(float(high), value)
