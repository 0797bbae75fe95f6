"""Counts of a side that behaves, for tests."""

from dataclasses import replace

from k8s.rollout.observation import Counts

BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25)
BOUNDS = (0.25, 0.5, 0.75, 1.0)


def side(requests: int, *, errors: int = 0, slow: bool = False) -> Counts:
    """So many requests of one image each, of which the errors have no answer."""
    answered = requests - errors
    latency = [0.0, 0.0, float(answered), 0.0, 0.0, 0.0]
    if slow:
        latency = [0.0, 0.0, 0.0, 0.0, float(answered), 0.0]
    return Counts(
        requests=requests,
        errors=errors,
        latency_bounds_s=BOUNDS_S,
        latency=tuple(latency),
        latency_sum_s=answered * (0.2 if slow else 0.035),
        images=answered,
        classes={"a": answered - answered // 4, "b": answered // 4},
        confidence_bounds=BOUNDS,
        confidence=(0.0, 0.0, answered / 2, answered / 2, 0.0),
        abstained=answered // 20,
    )


def with_classes(counts: Counts, classes: dict[str, float]) -> Counts:
    return replace(counts, classes=classes, images=sum(classes.values()))
