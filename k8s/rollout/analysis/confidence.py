"""Confidence: its mean on both sides in each window must not fall."""

from k8s.rollout.analysis import signs
from k8s.rollout.analysis.comparison import Comparison, Demand, concluded
from k8s.rollout.analysis.histogram import mean
from k8s.rollout.analysis.signs import SignEvidence
from k8s.rollout.analysis.window import Window
from k8s.rollout.observation import Counts
from k8s.rollout.policy import Confidence

_FEWEST = 5


def observe(evidence: SignEvidence, policy: Confidence, window: Window) -> SignEvidence:
    """With one more window."""
    primary, target = _mean(window.primary), _mean(window.target)
    if primary is None or target is None:
        return evidence
    # A fall is what is worse.
    return signs.observe(evidence, policy.margin, -primary, -target)


def compare(evidence: SignEvidence, policy: Confidence, demand: Demand) -> Comparison:
    """Its effect is a fall."""
    return concluded(
        demand,
        primary=-evidence.base,
        target=-evidence.base - evidence.mean,
        effect=evidence.mean,
        margin=policy.margin,
        log_evidence=evidence.log_evidence,
        sample=evidence.windows,
        needed=signs.needed(evidence, policy.margin, policy.intolerable, demand.power),
    )


def _mean(side: Counts) -> float | None:
    if sum(side.confidence) < _FEWEST:
        return None
    return mean(side.confidence_bounds, side.confidence)
