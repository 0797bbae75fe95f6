import pytest

from k8s.rollout.analysis import classes
from k8s.rollout.analysis.classes import MOST
from k8s.rollout.analysis.comparison import Comparison, Demand, Status
from k8s.rollout.analysis.rates import RateEvidence
from k8s.rollout.analysis.window import Window
from k8s.rollout.policy import Classes
from tests.k8s.rollout.sides import side, with_classes

DEMAND = Demand(log_threshold=7.4, power=0.95)


def _after(primary: dict[str, float], target: dict[str, float], windows: int) -> Comparison:
    evidence: dict[str, RateEvidence] = {}
    window = Window(0.0, with_classes(side(100), primary), with_classes(side(100), target))
    for _ in range(windows):
        evidence = classes.observe(evidence, window)
    return classes.compare(evidence, Classes(), DEMAND)


def test_the_same_mix_is_fine() -> None:
    found = _after({"a": 600, "b": 400}, {"a": 60, "b": 40}, windows=20)
    assert found.status is Status.FINE
    assert found.effect == pytest.approx(0.0)


def test_the_distance_is_half_of_what_changed_place() -> None:
    found = _after({"a": 500, "b": 300, "c": 200}, {"a": 35, "b": 45, "c": 20}, windows=20)
    assert found.effect == pytest.approx(0.15)
    assert found.status is Status.WORSE


def test_a_small_class_that_vanished_is_lost_however_small_the_distance() -> None:
    found = _after({"a": 940, "b": 60}, {"a": 100}, windows=20)
    assert (found.about, found.effect, found.status) == ("b", 1.0, Status.WORSE)
    assert found.primary == pytest.approx(0.06)


def test_a_class_that_only_the_target_knows_counts_even_if_it_came_late() -> None:
    evidence: dict[str, RateEvidence] = {}
    primary = with_classes(side(100), {"a": 1000})
    for window in range(20):
        new = {"a": 100.0} if window == 0 else {"a": 70.0, "z": 30.0}
        evidence = classes.observe(evidence, Window(0.0, primary, with_classes(side(100), new)))
    found = classes.compare(evidence, Classes(), DEMAND)
    assert found.status is Status.WORSE
    assert found.effect == pytest.approx(0.285)


def test_rare_ones_of_many_classes_count_as_one() -> None:
    many = {f"c{n:03}": 1000.0 - n for n in range(200)}
    window = Window(0.0, with_classes(side(1), many), with_classes(side(1), many))
    evidence = classes.observe({}, window)
    assert len(evidence) == MOST + 1
    total = sum(one.primary_events for one in evidence.values())
    assert total == sum(many.values())
