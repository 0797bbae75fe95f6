"""Errors, unreadable images and abstentions: shares that must not rise."""

from k8s.rollout.analysis import rates
from k8s.rollout.analysis.comparison import Comparison, Demand, concluded
from k8s.rollout.analysis.rates import OF_IMAGES, OF_REQUESTS, RISES, RateEvidence, Share
from k8s.rollout.analysis.window import Window
from k8s.rollout.observation import Counts
from k8s.rollout.policy import Rate

# What each is a share of.
OFFENCES = {
    "errors": ("errors", "requests"),
    "decode_failures": ("decode_failures", "requests"),
    "abstention": ("abstained", "images"),
}
_FIRST = {"requests": OF_REQUESTS, "images": OF_IMAGES}


def first(name: str) -> RateEvidence:
    """Evidence of an offence before the first window."""
    return _FIRST[OFFENCES[name][1]]


def observe(name: str, evidence: RateEvidence, window: Window) -> RateEvidence:
    """With one more window."""
    primary, target = (_share(name, side) for side in (window.primary, window.target))
    if not primary.of or not target.of:
        return evidence
    return rates.observe(evidence, RISES, primary, target)


def compare(evidence: RateEvidence, rate: Rate, demand: Demand) -> Comparison:
    """Of an offence whose evidence and policy are given."""
    base = evidence.mean_base
    margin = max(rate.margin, base * (rate.margin_ratio - 1))
    intolerable = max(rate.intolerable, base * (rate.intolerable_ratio - 1))
    return concluded(
        demand,
        primary=base,
        target=base + evidence.mean_rise,
        effect=evidence.mean_rise,
        margin=margin,
        log_evidence=evidence.log_evidence,
        sample=evidence.target_of,
        needed=rates.needed(evidence, margin, intolerable, demand.power),
    )


def _share(name: str, side: Counts) -> Share:
    events, of = OFFENCES[name]
    return Share(getattr(side, events), getattr(side, of))
