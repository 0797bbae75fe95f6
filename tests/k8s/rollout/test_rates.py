import math

import numpy as np
import pytest

from k8s.rollout.analysis import rates
from k8s.rollout.analysis.rates import CHANGES, OF_IMAGES, OF_REQUESTS, RISES, RateEvidence, Share

ALPHA = 0.05


def _runs(
    seed: int,
    ratio: float,
    *,
    runs: int = 400,
    windows: int = 60,
    clump: int = 1,
    ratios: tuple[float, ...] = RISES,
    base: float = 0.02,
) -> list[list[RateEvidence]]:
    """Evidence after every window of runs in which the primary's rate differs at each moment."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(runs):
        evidence, run = OF_IMAGES if clump > 1 else OF_REQUESTS, []
        for _ in range(windows):
            rate = base * math.exp(rng.normal(0.0, 0.8))
            target_of, primary_of = 1 + rng.poisson(60), 1 + rng.poisson(600)
            primary = clump * rng.binomial(primary_of // clump, min(1.0, rate))
            target = clump * rng.binomial(target_of // clump, min(1.0, ratio * rate))
            evidence = rates.observe(
                evidence, ratios, Share(primary, primary_of), Share(target, target_of)
            )
            run.append(evidence)
        found.append(run)
    return found


def _ever(found: list[list[RateEvidence]], alpha: float) -> float:
    """Share of the runs in which evidence was alarming at any look."""
    alarms = [any(e.log_evidence >= -math.log(alpha) for e in run) for run in found]
    return sum(alarms) / len(alarms)


@pytest.mark.parametrize("ratios", [RISES, CHANGES])
@pytest.mark.parametrize("clump", [1, 4])
def test_an_equal_target_alarms_no_more_often_than_promised_at_any_look(
    clump: int, ratios: tuple[float, ...]
) -> None:
    assert _ever(_runs(0, 1.0, clump=clump, ratios=ratios), ALPHA) <= ALPHA


def test_a_better_target_alarms_less() -> None:
    assert _ever(_runs(1, 0.5), ALPHA) <= 0.01


def test_a_doubled_rate_alarms_nearly_always() -> None:
    assert _ever(_runs(2, 2.0, windows=150, runs=200), 0.001) >= 0.95


def test_a_lost_class_alarms_nearly_always() -> None:
    assert _ever(_runs(3, 0.0, ratios=CHANGES, base=0.05, runs=200), 0.001) >= 0.95


def test_one_window_alone_never_alarms() -> None:
    evidence = OF_REQUESTS
    for target in (0, 0, 40, 0, 0):
        evidence = rates.observe(evidence, RISES, Share(0, 1000), Share(target, 50))
    assert evidence.log_evidence <= 0


def test_an_incident_that_both_sides_share_is_no_evidence() -> None:
    evidence = OF_REQUESTS
    for events in (2, 1, 200, 3, 150):
        evidence = rates.observe(evidence, RISES, Share(10 * events, 1000), Share(events, 100))
    assert evidence.log_evidence < 0
    assert evidence.dispersion == 1
    assert evidence.mean_rise == pytest.approx(0.0)


def test_the_rise_is_that_within_windows_when_the_split_changes() -> None:
    """A pooled difference would be wrong: the bad hour is also the one with the large share."""
    evidence = OF_REQUESTS
    evidence = rates.observe(evidence, RISES, Share(10, 1000), Share(1, 100))
    evidence = rates.observe(evidence, RISES, Share(50, 500), Share(50, 500))
    assert evidence.mean_rise == pytest.approx(0.0)


def test_the_needed_sample_shows_an_intolerable_rise_as_often_as_asked() -> None:
    margin, intolerable, power = 0.004, 0.01, 0.95
    evidence = _runs(4, 1.0, runs=1, base=0.01)[0][-1]
    needed = rates.needed(evidence, margin, intolerable, power)
    rng = np.random.default_rng(5)
    base = evidence.mean_base
    primary = rng.binomial(int(10 * needed), base, 4000) / int(10 * needed)
    target = rng.binomial(int(needed), base + intolerable, 4000) / int(needed)
    shown = np.mean(target - primary > margin)
    assert power - 0.03 <= shown <= power + 0.03


def test_without_a_window_nobody_knows_how_much_is_needed() -> None:
    assert rates.needed(OF_REQUESTS, 0.004, 0.01, 0.95) == math.inf
