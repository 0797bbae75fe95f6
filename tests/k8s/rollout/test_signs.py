import math

import numpy as np

from k8s.rollout.analysis import signs
from k8s.rollout.analysis.signs import SignEvidence

MARGIN = math.log(1.1)
ALPHA = 0.05


def _ever(seed: int, difference: float, alpha: float, runs: int = 400, windows: int = 60) -> float:
    """Share of the runs that alarm at any look; both sides wander together from 10 ms to 1 s."""
    rng = np.random.default_rng(seed)
    alarms = 0
    for _ in range(runs):
        evidence = SignEvidence()
        level = np.cumsum(rng.normal(0.0, 0.2, windows)) - 3
        for primary in level:
            target = primary + difference + rng.normal(0.0, 0.06)
            evidence = signs.observe(evidence, MARGIN, float(primary), float(target))
            if evidence.log_evidence >= -math.log(alpha):
                alarms += 1
                break
    return alarms / runs


def test_a_target_at_the_margin_alarms_no_more_often_than_promised_at_any_look() -> None:
    assert _ever(0, MARGIN, ALPHA) <= ALPHA + 0.02


def test_an_equal_target_does_not_alarm() -> None:
    assert _ever(1, 0.0, ALPHA) == 0


def test_a_target_slower_by_20_percent_alarms_nearly_always() -> None:
    assert _ever(2, math.log(1.2), 0.001) >= 0.95


def test_the_needed_windows_grow_with_their_spread() -> None:
    def needed(spread: float) -> float:
        rng = np.random.default_rng(3)
        evidence = SignEvidence()
        for difference in rng.normal(0.0, spread, 50):
            evidence = signs.observe(evidence, MARGIN, 0.0, float(difference))
        return signs.needed(evidence, MARGIN, math.log(1.2), 0.95)

    assert needed(0.01) < needed(0.5) < needed(1.0)


def test_mean_and_base_are_those_of_the_windows() -> None:
    evidence = SignEvidence()
    for primary, target in ((1.0, 1.5), (2.0, 2.1), (3.0, 3.3)):
        evidence = signs.observe(evidence, 0.2, primary, target)
    assert (evidence.exceeded, evidence.within) == (2, 1)
    assert math.isclose(evidence.mean, 0.3)
    assert math.isclose(evidence.base, 2.0)
    assert math.isclose(evidence.squares, 0.08)
