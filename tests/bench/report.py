"""The figures as a table to read."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from tests.bench.goal import Goal


def table(
    goals: Iterable[Goal],
    samples: Mapping[str, Sequence[float]],
    notes: Mapping[str, Sequence[str]],
) -> str:
    """Every goal, what was measured in the middle and at the ends, and whether it is met."""
    lines = [
        f"{'goal':56} {'':>7} {'median':>8} {'min':>8} {'max':>8}  met",
        *(_line(goal, samples.get(goal.key)) for goal in goals),
        *(f"{section}: {text}" for section, texts in notes.items() for text in texts),
    ]
    return "\n".join(lines)


def _line(goal: Goal, samples: Sequence[float] | None) -> str:
    head = f"{goal.text:56} {goal!s:>7}"
    if not samples:
        return f"{head} {'not measured':>26}"
    middle = sum(samples) if goal.summed else median(samples)
    shown = " ".join(f"{value:8.3f}" for value in (middle, min(samples), max(samples)))
    return f"{head} {shown}  {'yes' if goal.met(middle) else 'NO'}"
