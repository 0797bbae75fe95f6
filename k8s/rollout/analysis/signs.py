"""Does a figure of the target exceed the primary's by more than a margin, window by window?

Latencies of one server hang together over time, so a test that takes requests for independent
finds differences where there are none. Here a window of time is one observation: both sides'
figures in it, and the sign of their difference less the margin. While the difference's median,
given the past, is within the margin, a bet on the next sign gains nothing in the mean: the wealth
of one who stakes the share b on "exceeded" at every window is an e-process (Ramdas, Grünwald,
Vovk, Shafer 2023), reaches 1/alpha with probability alpha at most, whenever one looks, and asks
nothing of the distribution of latencies. The wealth of several stakes is averaged.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from k8s.rollout.analysis.rates import log_mean_exp

_STAKES = (0.3, 0.6, 0.9)
# Windows that tell the spread of the differences; those that hang together tell less than others.
_FEWEST = 10


@dataclass(frozen=True, slots=True)
class SignEvidence:
    """What all windows so far say.

    Attributes:
        exceeded: windows in which the difference exceeded the margin.
        within: the others.
        mean: of the differences.
        squares: of their deviations from the mean, summed.
        base: mean of the primary's figure.
    """

    exceeded: int = 0
    within: int = 0
    mean: float = 0.0
    squares: float = 0.0
    base: float = 0.0

    @property
    def windows(self) -> int:
        return self.exceeded + self.within

    @property
    def log_evidence(self) -> float:
        return log_mean_exp(
            [
                self.exceeded * math.log1p(stake) + self.within * math.log1p(-stake)
                for stake in _STAKES
            ]
        )


def observe(evidence: SignEvidence, margin: float, primary: float, target: float) -> SignEvidence:
    """With one more window.

    Args:
        evidence: of the windows before.
        margin: that the difference has to exceed, the same at every call.
        primary, target: the figure of each, such that a larger one of the target is worse.
    """
    difference = target - primary
    windows = evidence.windows + 1
    away = difference - evidence.mean
    mean = evidence.mean + away / windows
    return SignEvidence(
        evidence.exceeded + (difference > margin),
        evidence.within + (difference <= margin),
        mean,
        evidence.squares + away * (difference - mean),
        evidence.base + (primary - evidence.base) / windows,
    )


def needed(evidence: SignEvidence, margin: float, intolerable: float, power: float) -> float:
    """How many windows have to be seen until an intolerable difference shows.

    It shows when the mean difference exceeds the margin, which it misses by normal chance: the
    windows' own spread tells how far off their mean may be.

    Args:
        evidence: of which the spread is taken.
        margin, intolerable: differences.
        power: chance that it shows.
    """
    if evidence.windows < _FEWEST:
        return _FEWEST
    spread = math.sqrt(evidence.squares / (evidence.windows - 1))
    z = NormalDist().inv_cdf(power)
    return max(_FEWEST, (z * spread / (intolerable - margin)) ** 2)
