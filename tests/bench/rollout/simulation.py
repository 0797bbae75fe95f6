"""One rollout from its beginning to its end, through `decide`."""

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from k8s.rollout.decision import decide
from k8s.rollout.observation import Observation
from k8s.rollout.state import Phase, begin
from tests.bench.rollout.scenario import Scenario
from tests.bench.rollout.traffic import SCRAPE_S, Traffic

HORIZON_S = 6 * 3600.0
_READY_S = 60.0
_CRASH_S = 600.0
_ENDS: dict[Phase, Literal["promoted", "rolled back"]] = {
    Phase.PROMOTING: "promoted",
    Phase.ROLLED_BACK: "rolled back",
}


@dataclass(frozen=True)
class Ended:
    """How it ended.

    Attributes:
        end: "held": still going on at the horizon.
        most_percent: largest weight that the target had.
        minutes: from its being ready.
        target_requests: that the target had, and users with it unless they were copies.
        reason: of the end.
    """

    end: Literal["promoted", "rolled back", "held"]
    most_percent: int
    minutes: float
    target_requests: float
    reason: str


def simulate(scenario: Scenario, seed: int) -> Ended:
    """The rollout that a seed stands for."""
    rng = np.random.default_rng([zlib.crc32(scenario.name.encode()), seed])
    traffic = Traffic(scenario, rng, HORIZON_S)
    state = begin("new", 0.0)
    weight, most, probes, requests, at_s = 0, 0, 0, 0.0, 0.0
    for index in range(1, round(HORIZON_S / SCRAPE_S)):
        at_s = index * SCRAPE_S
        ready = _ready(scenario, at_s)
        # Without pods there is nothing that could be scraped.
        primary, target = traffic.scrape(index, weight, probes)
        decision = decide(scenario.policy, state, Observation(at_s, primary, target, ready))
        requests += target.requests
        state, weight, probes = decision.state, decision.weight_percent, decision.probe_requests
        most = max(most, weight if state.phase is not Phase.PROMOTING else most)
        if state.phase in _ENDS:
            break
    reason = state.last.reason if state.last else ""
    return Ended(_ENDS.get(state.phase, "held"), most, (at_s - _READY_S) / 60, requests, reason)


def _ready(scenario: Scenario, at_s: float) -> bool:
    if scenario.ready == "never" or at_s < _READY_S:
        return False
    return scenario.ready == "soon" or at_s < _CRASH_S
