"""Latency: the mean, the median and p99 of both sides in each window, as ratios."""

import math

from k8s.rollout.analysis import signs
from k8s.rollout.analysis.comparison import Comparison, Demand, concluded
from k8s.rollout.analysis.histogram import quantile
from k8s.rollout.analysis.signs import SignEvidence
from k8s.rollout.analysis.window import Window
from k8s.rollout.observation import Counts
from k8s.rollout.policy import Slowdown

# Answered requests of a side below which a window says nothing about it.
_FEWEST = 5
_QUANTILES = {"latency_p50": 0.5, "latency_p99": 0.99}
FIGURES = ("latency_mean", *_QUANTILES)


def level(name: str, side: Counts) -> float | None:
    """Log of the figure in seconds; None if too few requests were answered."""
    answered = sum(side.latency)
    if answered < _FEWEST:
        return None
    if name == "latency_mean":
        return math.log(max(side.latency_sum_s / answered, 1e-9))
    return math.log(quantile(side.latency_bounds_s, side.latency, _QUANTILES[name]))


def observe(name: str, evidence: SignEvidence, slowdown: Slowdown, window: Window) -> SignEvidence:
    """With one more window."""
    primary, target = level(name, window.primary), level(name, window.target)
    if primary is None or target is None:
        return evidence
    return signs.observe(evidence, math.log(slowdown.margin_ratio), primary, target)


def compare(evidence: SignEvidence, slowdown: Slowdown, demand: Demand) -> Comparison:
    """Of one figure; its effect is a ratio."""
    return concluded(
        demand,
        primary=math.exp(evidence.base) if evidence.windows else 0.0,
        target=math.exp(evidence.base + evidence.mean) if evidence.windows else 0.0,
        effect=math.exp(evidence.mean),
        margin=slowdown.margin_ratio,
        log_evidence=evidence.log_evidence,
        sample=evidence.windows,
        needed=signs.needed(
            evidence,
            math.log(slowdown.margin_ratio),
            math.log(slowdown.intolerable_ratio),
            demand.power,
        ),
    )
