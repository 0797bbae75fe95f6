"""Knative mode against a fake of what KServe 0.20 makes of `canaryTrafficPercent`."""

import copy
import json
from typing import Any

import pytest

from k8s.rollout.controller import Controller
from k8s.rollout.telemetry import Telemetry
from tests.k8s.rollout.fake_cluster import (
    ANALYST,
    NAMES,
    FakeMetrics,
    KilledError,
    World,
    service_path,
)
from tests.k8s.rollout.test_controller import LOOK_S, QUICK, killing, known

SERVICE = service_path("cxr")


class KnativeWorld(World):
    """One InferenceService whose revisions share the requests, as KServe's source has it."""

    def __init__(self, policy: dict[str, Any]) -> None:
        super().__init__(policy, {"mode": "Knative"})
        self.revisions: list[str] = []
        self.young = 0

    def upgrade(self, model: str) -> None:
        """What helm does: the ConfigMap, since it has no InferenceService."""
        container = {"name": "kserve-container", "env": [{"name": "M", "value": model}]}
        metadata = {"labels": {"team": "imaging"}, "annotations": {}}
        service = {"metadata": metadata, "spec": {"predictor": {"containers": [container]}}}
        analyst = self.api.objects[ANALYST]
        analyst["data"]["inferenceservice.yaml"] = json.dumps(service)
        version = int(analyst["metadata"]["resourceVersion"])
        analyst["metadata"]["resourceVersion"] = str(version + 1)

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        live = self.api.objects.get(SERVICE)
        if live is None:
            return
        self._settle(live)
        for revision, percent in self.traffic().items():
            served = revision.split("-")[1]
            if percent:
                self.shares.append((seconds, served, percent))
                self._count(revision, served, seconds * self.rate * percent / 100)

    def traffic(self) -> dict[str, int]:
        """Revisions that have requests, by share."""
        live = self.api.objects.get(SERVICE, {})
        status = live.get("status", {}).get("components", {}).get("predictor", {})
        found: dict[str, int] = {}
        for each in status.get("traffic", []):
            found[each["revisionName"]] = found.get(each["revisionName"], 0) + each["percent"]
        return found

    def _settle(self, live: dict[str, Any]) -> None:
        predictor = live["spec"]["predictor"]
        model = predictor["containers"][0]["env"][0]["value"]
        told = json.dumps({**predictor, "canaryTrafficPercent": None}, sort_keys=True)
        status = live.setdefault("status", {}).setdefault("components", {})
        status = status.setdefault("predictor", {})
        if live.get("told") != told:
            live["told"] = told
            self.revisions.append(f"r{len(self.revisions)}-{model}")
            self.young = 0
        else:
            self.young += 1
        created = self.revisions[-1]
        if self.young >= 2 and model not in self.broken:
            status["latestReadyRevision"] = created
        ready = status.get("latestReadyRevision", "")
        status["latestCreatedRevision"] = created
        percent = predictor.get("canaryTrafficPercent")
        rolled_out = status.get("latestRolledoutRevision", "")
        if percent is None or not rolled_out:
            shares = [(ready, 100, True)]
        else:
            shares = [(ready, percent, True), (rolled_out, 100 - percent, False)]
        status["traffic"] = [
            {"revisionName": name, "percent": share, "latestRevision": latest}
            for name, share, latest in shares
            if name
        ]
        self._rolled_out(status, ready, created)
        conditions = [{"type": "Ready", "status": str(ready == created)}]
        live["status"]["conditions"] = conditions

    def _rolled_out(self, status: dict[str, Any], ready: str, created: str) -> None:
        """As `PropagateStatus` does, with the way back that it takes at less than 100 %."""
        total = sum(each["percent"] for each in status["traffic"] if each["revisionName"] == ready)
        for each in status["traffic"]:
            if not each["latestRevision"]:
                continue
            if status.get("latestRolledoutRevision") != ready:
                if each["percent"] == 100:
                    before = status.get("latestRolledoutRevision", "")
                    status["previousRolledoutRevision"] = before
                    status["latestRolledoutRevision"] = ready
            elif ready == created and each["percent"] < 100 and total == 100:
                before = status.get("previousRolledoutRevision")
                if before:
                    status["latestRolledoutRevision"] = before


def analyst(world: KnativeWorld) -> Controller:
    return Controller(
        world.cluster,
        NAMES,
        Telemetry(),
        clock=lambda: world.now_s,
        source=lambda _: FakeMetrics(world),
    )


def until_done(world: KnativeWorld) -> None:
    """Look until nothing is left to do; who is killed is started again."""
    controller = analyst(world)
    quiet = 0
    for _ in range(400):
        try:
            controller.look()
        except KilledError:
            controller = analyst(world)
            continue
        quiet = quiet + 1 if controller.done else 0
        if quiet == 6:
            return
        world.pass_time(LOOK_S)
    raise AssertionError(f"not done: {known(world).phase}, {known(world).state.last}")


def installed(*models: str) -> KnativeWorld:
    world = KnativeWorld(QUICK)
    for model in models or ("A",):
        world.upgrade(model)
        until_done(world)
    return world


def serving(world: KnativeWorld) -> dict[str, int]:
    """Share by model."""
    return {name.split("-")[1]: share for name, share in world.traffic().items() if share}


def test_the_first_release_has_everything_without_a_share_being_said() -> None:
    world = KnativeWorld(QUICK)
    world.upgrade("A")
    analyst(world).look()
    assert "canaryTrafficPercent" not in world.api.objects[SERVICE]["spec"]["predictor"]
    until_done(world)
    assert serving(world) == {"A": 100}


def test_a_new_spec_begins_at_nothing_and_goes_through_every_step() -> None:
    # Twice, since only then there is a revision before the one that serves.
    world = installed("A", "B")
    world.shares.clear()
    world.upgrade("C")
    until_done(world)
    assert serving(world) == {"C": 100}
    shares = [share for _, served, share in world.shares if served == "C"]
    assert sorted(set(shares)) == [50, 100]
    assert {served for _, served, _ in world.shares} == {"B", "C"}


def test_a_failing_release_goes_back_to_what_was_promoted_and_not_to_what_was_before() -> None:
    world = installed("A", "B")
    world.shares.clear()
    world.failing["C"] = 0.3
    world.upgrade("C")
    until_done(world)
    assert serving(world) == {"B": 100}
    assert {served for _, served, _ in world.shares} == {"B", "C"}
    assert max(share for _, served, share in world.shares if served == "C") == 50
    assert known(world).rejected


def test_what_never_becomes_ready_gets_nothing() -> None:
    world = installed("A", "B")
    world.shares.clear()
    world.broken.add("C")
    world.upgrade("C")
    until_done(world)
    assert {served for _, served, _ in world.shares} == {"B"}


def test_unchanged_values_disturb_nothing() -> None:
    world = installed("A", "B")
    revisions, writes = list(world.revisions), len(world.api.writes)
    world.upgrade("B")
    until_done(world)
    assert (world.revisions, len(world.api.writes)) == (revisions, writes)


@pytest.mark.parametrize(("failing", "end"), [(0.0, "C"), (0.3, "B")])
def test_killed_before_any_call_it_comes_to_the_same_end(failing: float, end: str) -> None:
    begun = installed("A", "B")
    begun.failing["C"], begun.rate = failing, 200.0
    begun.shares.clear()
    begun.upgrade("C")
    whole = copy.deepcopy(begun)
    until_done(whole)
    for number in range(0, whole.api.calls - begun.api.calls, 5):
        world = copy.deepcopy(begun)
        killing(world, number)
        until_done(world)
        assert serving(world) == {end: 100}, number
        assert {served for _, served, _ in world.shares} <= {"B", "C"}, number
