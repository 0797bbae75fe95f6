"""What ends a rollout at once.

A share is clearly exceeded when even the lower end of its confidence interval is (Clopper and
Pearson 1934, bounded by Chernoff and Hoeffding's relative entropy): with false-alarm rates this
small, looking at every scrape costs nothing that counts.
"""

import math

from k8s.rollout.observation import Counts
from k8s.rollout.policy import Policy

_LOG_CHANCE = math.log(1e-6)


def tripped(policy: Policy, primary: Counts, target: Counts, slow_windows: int) -> str | None:
    """Why the target has to go at once, if it has to.

    What the primary does as badly is not the target's fault.

    Args:
        policy: the limits.
        primary, target: of the window that is open.
        slow_windows: how many on end were slow beyond the guard.
    """
    guards = policy.guards
    limits = {"errors": guards.error_ratio, "decode_failures": guards.decode_failure_ratio}
    for name, limit in limits.items():
        bad = getattr(target, name)
        if target.requests < guards.requests or not _exceeds(bad, target.requests, limit):
            continue
        other = getattr(primary, name) / primary.requests if primary.requests else 0.0
        if other < limit / 2:
            what = name.replace("_", " ")
            return (
                f"{bad:.0f} {what} in {target.requests:.0f} requests of the target, against "
                f"{100 * other:.2g} % of the primary's: more than {100 * limit:g} %"
            )
    if slow_windows >= guards.windows:
        return (
            f"the target's median latency was more than {guards.latency_ratio:g} times the "
            f"primary's in {slow_windows} windows on end"
        )
    return None


def _exceeds(events: float, of: float, limit: float) -> bool:
    """Whether a share of `limit` would show this many with a chance below 1e-6."""
    if limit >= 1 or events <= limit * of:
        return False
    rate = min(1.0, events / of)
    entropy = rate * math.log(rate / limit)
    if rate < 1:
        entropy += (1 - rate) * math.log((1 - rate) / (1 - limit))
    return -of * entropy <= _LOG_CHANCE
