"""Is a share of the target's requests larger than the primary's? Asked at every look.

In one window of time, given how many requests each side had (n_t, n_p) and how many of all failed,
the target's failures are hypergeometric if the sides do not differ, whatever the failure rate was
just then: which request goes where is the gateway's dice. A bad minute that both sides share says
so nothing. Against a target that fails r times as often, the failures being rare, the odds that a
failure is the target's are r n_t : n_p; the likelihood ratio of that to n_t : n_p, multiplied over
windows, has a mean of at most 1 without difference (the hypergeometric is below the binomial in
convex order: Hoeffding 1963, theorem 4) and so by Ville's inequality ever reaches 1/alpha with
probability alpha at most, however often one looks: an e-process (Ramdas, Grünwald, Vovk, Shafer
2023, "Game-theoretic statistics and safe anytime-valid inference"; for 2 x 2 tables Turner, Ly,
Grünwald 2024). Those of several r are averaged.

Failures come in clumps, which the dice do not divide: many images in a request, a pod's bad
moment. So each factor is raised to 1 / dispersion, estimated from the windows before it (an
exponent below 1 keeps the mean at most 1), and the window that speaks loudest is left out. Outages
are for the guards.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

RISES = (1.5, 2.0, 4.0, 16.0)
CHANGES = (1 / 16, 1 / 4, 1 / 2, 2.0, 8.0)

_FEW = 2.0


@dataclass(frozen=True, slots=True)
class Share:
    """Events on one side of a window, of how many requests or images."""

    events: float
    of: float

    @property
    def rate(self) -> float:
        return self.events / self.of


@dataclass(frozen=True, slots=True)
class RateEvidence:
    """What all windows so far say.

    Attributes:
        log_e: of each alternative ratio.
        loudest: what the loudest window adds to each.
        spread: squared deviations from what the windows before let expect.
        expected_spread: what they come to without clumps. Both begin with what is believed
            before anything is seen.
        primary_events, primary_of, target_events, target_of: totals.
        weight: of all windows, as Mantel and Haenszel weigh strata: n_t n_p / (n_t + n_p).
        rise: target's rate less primary's, times weight, summed.
        base: primary's rate, times weight, summed.
    """

    log_e: tuple[float, ...] = ()
    loudest: tuple[float, ...] = ()
    spread: float = 5.0
    expected_spread: float = 5.0
    primary_events: float = 0.0
    primary_of: float = 0.0
    target_events: float = 0.0
    target_of: float = 0.0
    weight: float = 0.0
    rise: float = 0.0
    base: float = 0.0

    @property
    def dispersion(self) -> float:
        return max(1.0, self.spread / self.expected_spread)

    @property
    def log_evidence(self) -> float:
        """Log of the averaged e-value, the loudest window left out."""
        if not self.log_e:
            return 0.0
        return log_mean_exp(
            [e - max(0.0, most) for e, most in zip(self.log_e, self.loudest, strict=True)]
        )

    @property
    def mean_rise(self) -> float:
        """Target's rate less primary's, compared within windows."""
        return self.rise / self.weight if self.weight else 0.0

    @property
    def mean_base(self) -> float:
        """Primary's rate, in the windows' weights."""
        return self.base / self.weight if self.weight else 0.0


# Requests are divided by dice. Images come with others of their request, and a class that stays
# away shows no clumps: these are believed in until many events have shown none.
OF_REQUESTS = RateEvidence()
OF_IMAGES = RateEvidence(spread=60.0, expected_spread=20.0)


def observe(
    evidence: RateEvidence, ratios: tuple[float, ...], primary: Share, target: Share
) -> RateEvidence:
    """With one more window, in which both sides had requests.

    Args:
        evidence: of the windows before, `OF_REQUESTS` or `OF_IMAGES` before the first.
        ratios: the alternatives, the same at every call.
        primary, target: of the window.
    """
    chance = target.of / (target.of + primary.of)
    events = target.events + primary.events
    exponent = 1 / evidence.dispersion
    gains = []
    for ratio in ratios:
        on_target, on_primary = _log_odds(ratio, chance)
        gains.append(exponent * (target.events * on_target + primary.events * on_primary))
    deviation, variance = _deviation(evidence, chance, events, target.events)
    weight = target.of * primary.of / (target.of + primary.of)
    zeros = (0.0,) * len(ratios)
    return RateEvidence(
        tuple(e + gain for e, gain in zip(evidence.log_e or zeros, gains, strict=True)),
        tuple(max(pair) for pair in zip(evidence.loudest or zeros, gains, strict=True)),
        evidence.spread + deviation,
        evidence.expected_spread + variance,
        evidence.primary_events + primary.events,
        evidence.primary_of + primary.of,
        evidence.target_events + target.events,
        evidence.target_of + target.of,
        evidence.weight + weight,
        evidence.rise + weight * (target.rate - primary.rate),
        evidence.base + weight * primary.rate,
    )


def needed(evidence: RateEvidence, margin: float, intolerable: float, power: float) -> float:
    """How much of the target has to be seen until an intolerable change of its rate shows.

    It shows when the change that is seen exceeds the margin, which it misses by normal chance.

    Args:
        evidence: of which the primary's rate, the split and the dispersion are taken.
        margin, intolerable: changes of the target's rate, both rises or both falls.
        power: chance that it shows.

    Returns:
        Requests or images of the target; infinity before the first window.
    """
    if not evidence.weight:
        return math.inf
    base = evidence.mean_base
    other = min(1.0, max(0.0, base + intolerable))
    per_target = evidence.target_of / evidence.primary_of
    variance = other * (1 - other) + base * (1 - base) * per_target
    z = NormalDist().inv_cdf(power)
    return evidence.dispersion * variance * (z / (intolerable - margin)) ** 2


def log_mean_exp(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values) / len(values))


def _log_odds(ratio: float, chance: float) -> tuple[float, float]:
    """Log likelihood ratio of an event on the target, and of one on the primary."""
    total = ratio * chance + 1 - chance
    return math.log(ratio / total), -math.log(total)


def _deviation(
    evidence: RateEvidence, chance: float, events: float, on_target: float
) -> tuple[float, float]:
    """Squared deviation of the target's events from what was expected, and its variance.

    Expected is a target like the primary, or one that differs as the windows before say, whichever
    is nearer: an incident of both sides is no clump, and neither is a steady difference.
    """
    ratios = [1.0]
    if evidence.weight:
        primary = (evidence.primary_events + 0.5) / evidence.primary_of
        alike = primary * evidence.target_of
        ratios.append(
            max(
                (evidence.target_events + 0.5) / alike,
                # Few events that did not come are no sign yet that none will.
                (evidence.target_events + _FEW) / (alike + _FEW),
            )
        )
    found = []
    for ratio in ratios:
        odds = ratio * chance / (1 - chance)
        expected = odds / (1 + odds)
        variance = events * expected * (1 - expected)
        found.append(((on_target - events * expected) ** 2, variance))
    return min(found, key=lambda pair: pair[0] / (pair[1] or 1.0))
