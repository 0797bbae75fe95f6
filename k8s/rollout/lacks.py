"""What a step still lacks, and whether it will come."""

from collections.abc import Mapping

from k8s.rollout.analysis.comparison import Comparison, Status
from k8s.rollout.policy import Policy
from k8s.rollout.state import State


def lacks(policy: Policy, state: State, comparisons: Mapping[str, Comparison]) -> list[str]:
    """What has to be seen before the step may end, each in a phrase; empty if it may.

    Nobody is served by a target at 0 %, so there the sample that shows an intolerable target is
    not asked for: the next step does, unless that is the promotion.
    """
    dark = policy.steps[state.step] == 0 and policy.steps[state.step + 1] < 100
    found = []
    if not dark or policy.on_silence == "probe":
        found += [
            f"{side} answered {requests:.0f} of {policy.min_requests} requests"
            for side, requests in (
                ("primary", state.evidence.primary_requests),
                ("target", state.evidence.target_requests),
            )
            if requests < policy.min_requests
        ]
    if not dark:
        found += [
            f"{name} has {comparison.sample:.0f} of "
            f"{'so far unknown' if comparison.needed is None else comparison.needed}"
            for name, comparison in comparisons.items()
            if comparison.status is Status.SHORT
        ]
    return found + [
        f"{name} is suspect: {comparison}"
        for name, comparison in comparisons.items()
        if comparison.status is Status.SUSPECT
    ]


def in_time(
    policy: Policy, state: State, comparisons: Mapping[str, Comparison], elapsed_s: float
) -> bool:
    """Whether what users send will end the step before it is overdue, at the pace so far."""
    evidence = state.evidence
    fewest = min(evidence.primary_requests, evidence.target_requests)
    share = fewest / policy.min_requests
    for comparison in comparisons.values():
        if comparison.status is Status.SHORT:
            # The window that is open counts: before the first closes, nothing else does.
            share = min(share, (comparison.sample + 1) / ((comparison.needed or 0) + 1))
        elif comparison.status is Status.SUSPECT:
            share = min(share, max(comparison.evidence, 0.0))
    from_users = max(0.0, 1 - state.probed / max(fewest, 1))
    return from_users * share * policy.max_step_s >= elapsed_s
