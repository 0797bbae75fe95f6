"""The figures of simulated rollouts are what was simulated."""

import json
from pathlib import Path

import pytest

from k8s.rollout.interval import wilson
from tests.bench.rollout.__main__ import main
from tests.bench.rollout.report import figures, goals, kinds, markdown
from tests.bench.rollout.simulation import Ended

PROMOTED = Ended("promoted", 50, 30.0, 1000, "")
BELOW_HALF = Ended("rolled back", 25, 10.0, 300, "")
AT_HALF = Ended("rolled back", 50, 20.0, 900, "")
HELD = Ended("held", 5, 360.0, 10, "")


def test_rates_are_told_with_their_intervals() -> None:
    of = kinds({"no_difference": [PROMOTED] * 49 + [AT_HALF], "errors_doubled": [BELOW_HALF] * 4})
    document = figures(of)
    low, high = wilson(1, 50)
    assert document["false_rollback"] == {
        "rate": 0.02,
        "low": pytest.approx(low, abs=1e-5),
        "high": pytest.approx(high, abs=1e-5),
        "rollouts": 50,
    }
    assert document["missed_regression"]["errors_doubled"]["rate"] == 0
    assert document["median_requests"] == {"no_difference": 1000, "errors_doubled": 300}
    assert "| errors doubled | 100.0 (51.0 to 100.0) | 100.0" in markdown(of)


def test_a_regression_is_missed_when_promoted_and_caught_when_rolled_back_below_half() -> None:
    ended = [PROMOTED, AT_HALF, BELOW_HALF, HELD]
    (kind,) = kinds({"errors_doubled": ended})
    assert kind.figures()["promoted"]["rate"] == 0.25
    assert kind.figures()["held"]["rate"] == 0.25
    assert kind.caught_before_half.figures()["rate"] == 0.25
    assert goals([kind]) == {"errors_doubled caught below 50 % >= 0.95": False}


def test_a_false_rollback_too_many_misses_the_goal() -> None:
    def met(rolled_back: int) -> list[bool]:
        ended = [AT_HALF] * rolled_back + [PROMOTED] * (100 - rolled_back)
        return list(goals(kinds({"bursts": ended})).values())

    assert met(2) == [True]
    assert met(3) == [False]


def test_the_command_writes_what_it_simulated(tmp_path: Path) -> None:
    assert main(["fails_always", "--rounds", "2", "--directory", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "rollout.json").read_text())
    assert document["kinds"]["fails_always"]["caught_before_half"]["rate"] == 1
    assert "fails always" in (tmp_path / "rollout.md").read_text()
