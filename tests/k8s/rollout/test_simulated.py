"""A few of the rollouts that `make bench-rollout` simulates by the thousand.

The limits leave chance its room: a sound test misses them less than once in a thousand runs, and
the seeds are fixed. They do not leave it to a test that is looked at too often, or that takes
requests for independent.
"""

import pytest

from tests.bench.rollout.scenario import SCENARIOS
from tests.bench.rollout.simulation import Ended, simulate

_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def _rollouts(name: str, many: int) -> list[Ended]:
    return [simulate(_BY_NAME[name], seed) for seed in range(many)]


@pytest.mark.parametrize("name", ["no_difference", "slower_by_3_percent", "bursts"])
def test_what_is_no_worse_is_not_rolled_back(name: str) -> None:
    ended = [one.end for one in _rollouts(name, 25)]
    assert ended.count("rolled back") <= 1
    assert ended.count("promoted") >= 23


@pytest.mark.parametrize(
    "name",
    [
        "errors_doubled",
        "errors_from_none",
        "slower_by_20_percent",
        "class_collapsed",
        "rare_class_collapsed",
        "confidence_fell",
        "abstention_doubled",
        "decode_failures",
        "never_ready",
        "crashes",
    ],
)
def test_what_is_worse_is_rolled_back_below_half_of_the_traffic(name: str) -> None:
    ended = _rollouts(name, 12)
    caught = [one for one in ended if one.end == "rolled back" and one.most_percent < 50]
    assert len(caught) >= 11
    assert not any(one.end == "promoted" for one in ended)


def test_too_little_traffic_is_held() -> None:
    assert {one.end for one in _rollouts("low_traffic", 2)} == {"held"}


def test_reference_inputs_bring_a_quiet_rollout_to_its_end() -> None:
    assert [one.end for one in _rollouts("low_traffic_probed", 3)].count("promoted") >= 2
