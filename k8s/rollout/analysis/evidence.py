"""All that a step has collected: what the tests go on from, small enough for an annotation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from k8s.rollout.analysis import classes, confidence, latency, offences
from k8s.rollout.analysis.comparison import Comparison, Demand
from k8s.rollout.analysis.rates import RateEvidence
from k8s.rollout.analysis.signs import SignEvidence
from k8s.rollout.analysis.window import Window
from k8s.rollout.observation import Counts
from k8s.rollout.policy import Policy

COMPARISONS = (*offences.OFFENCES, *latency.FIGURES, "confidence", "classes")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one step.

    Attributes:
        window: the one that is open.
        tail: the longer one for p99 that is open.
        windows: how many have been compared.
        slow_windows: how many on end, up to the last, were slow beyond the guard.
        primary_requests, target_requests: of the step.
        rates: of the errors, decode failures and abstentions.
        signs: of the latencies and the confidence.
        classes: of each class.
    """

    window: Window = field(default_factory=Window)
    tail: Window = field(default_factory=Window)
    windows: int = 0
    slow_windows: int = 0
    primary_requests: float = 0.0
    target_requests: float = 0.0
    rates: Mapping[str, RateEvidence] = field(default_factory=dict)
    signs: Mapping[str, SignEvidence] = field(default_factory=dict)
    classes: Mapping[str, RateEvidence] = field(default_factory=dict)


def begun(at_s: float) -> Evidence:
    """None yet."""
    return Evidence(window=Window(at_s), tail=Window(at_s))


def unsettled(evidence: Evidence, primary: Counts, target: Counts) -> Evidence:
    """With what came too soon after a change of weights to be compared: for the guards alone."""
    return replace(evidence, window=evidence.window.with_more(primary, target))


def settled(evidence: Evidence, at_s: float) -> Evidence:
    """Without what came too soon."""
    return replace(evidence, window=Window(at_s), tail=Window(at_s))


def observe(
    evidence: Evidence, policy: Policy, at_s: float, primary: Counts, target: Counts
) -> Evidence:
    """With what came until `at_s`; windows that are complete by now are compared."""
    evidence = replace(
        evidence,
        window=evidence.window.with_more(primary, target),
        tail=evidence.tail.with_more(primary, target),
        primary_requests=evidence.primary_requests + primary.requests,
        target_requests=evidence.target_requests + target.requests,
    )
    if evidence.window.complete(at_s, policy.window_s, policy.window_requests):
        evidence = _compared(evidence, policy, at_s)
    if evidence.tail.complete(at_s, policy.window_s, policy.tail_requests):
        p99 = evidence.signs.get("latency_p99", SignEvidence())
        p99 = latency.observe("latency_p99", p99, policy.latency_p99, evidence.tail)
        signs = {**evidence.signs, "latency_p99": p99}
        evidence = replace(evidence, tail=Window(at_s), signs=signs)
    return evidence


def demand_of(policy: Policy) -> Demand:
    """The false-alarm rate, shared evenly among the comparisons of all steps that have any.

    The steps' and comparisons' alarms may hang together as they like: the sum of their chances
    bounds the chance of any.
    """
    tests = len(COMPARISONS) * (len(policy.steps) - 1)
    return Demand(math.log(tests / policy.false_alarm_rate), policy.power)


def compare(evidence: Evidence, policy: Policy) -> dict[str, Comparison]:
    """All comparisons of the step so far, by name."""
    demand = demand_of(policy)
    found = {}
    for name in offences.OFFENCES:
        rate = evidence.rates.get(name, offences.first(name))
        found[name] = offences.compare(rate, getattr(policy, name), demand)
    for name in latency.FIGURES:
        sign = evidence.signs.get(name, SignEvidence())
        found[name] = latency.compare(sign, getattr(policy, name), demand)
    sign = evidence.signs.get("confidence", SignEvidence())
    found["confidence"] = confidence.compare(sign, policy.confidence, demand)
    found["classes"] = classes.compare(evidence.classes, policy.classes, demand)
    return found


def _compared(evidence: Evidence, policy: Policy, at_s: float) -> Evidence:
    window = evidence.window
    signs = dict(evidence.signs)
    for name in ("latency_mean", "latency_p50"):
        before = signs.get(name, SignEvidence())
        signs[name] = latency.observe(name, before, getattr(policy, name), window)
    before = signs.get("confidence", SignEvidence())
    signs["confidence"] = confidence.observe(before, policy.confidence, window)
    return replace(
        evidence,
        window=Window(at_s),
        windows=evidence.windows + 1,
        slow_windows=evidence.slow_windows + 1 if _slow(window, policy) else 0,
        rates={
            name: offences.observe(name, evidence.rates.get(name, offences.first(name)), window)
            for name in offences.OFFENCES
        },
        signs=signs,
        classes=classes.observe(evidence.classes, window),
    )


def _slow(window: Window, policy: Policy) -> bool:
    primary, target = (latency.level("latency_p50", s) for s in (window.primary, window.target))
    if primary is None or target is None:
        return False
    return target - primary > math.log(policy.guards.latency_ratio)
