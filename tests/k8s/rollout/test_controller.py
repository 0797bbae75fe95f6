"""The whole controller, from upgrade to end, and killed anywhere on the way."""

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest

from k8s.rollout import record as records
from k8s.rollout.cluster import CONFIG_MAP, ApiError, ConflictError
from k8s.rollout.controller import Controller
from k8s.rollout.names import REQUEST
from k8s.rollout.record import Record
from k8s.rollout.settings import SettingsError
from k8s.rollout.telemetry import Telemetry
from tests.k8s.rollout.fake_cluster import (
    ANALYST,
    NAMES,
    NAMESPACE,
    RECORD,
    ROUTE,
    KilledError,
    World,
    deployment_path,
    service_path,
)

LOOK_S = 10.0
QUICK: dict[str, Any] = {
    "steps": [0, 50, 100],
    "min_requests": 200,
    "min_step_s": 60,
    "max_step_s": 3600,
    "settle_s": 20,
    "readiness_s": 120,
    "window_s": 10,
    # A single level of latency and of every class: what differs here are errors.
    "power": 0.5,
}


def analyst(world: World) -> Controller:
    return Controller(
        world.cluster, NAMES, Telemetry(), clock=lambda: world.now_s, source=world.metrics
    )


def known(world: World) -> Record:
    record = records.read(world.cluster, NAMES).record
    assert record is not None
    return record


def looks(world: World, count: int, controller: Controller | None = None) -> None:
    controller = controller or analyst(world)
    for _ in range(count):
        controller.look()
        world.pass_time(LOOK_S)


def until_done(world: World, controller: Controller | None = None, limit: int = 400) -> Record:
    """Look until nothing is under way and the target is stopped."""
    controller = controller or analyst(world)
    for _ in range(limit):
        record = controller.look()
        if controller.done:
            assert world.stopped()
            return record
        world.pass_time(LOOK_S)
    raise AssertionError(f"not done after {limit} looks: {record.phase}, {record.state.last}")


def installed(model: str = "A", policy: Mapping[str, Any] | None = None) -> World:
    """A release that was installed and promoted."""
    world = World(QUICK | dict(policy or {}))
    world.upgrade(model)
    world.pass_time(LOOK_S)
    until_done(world)
    world.lost = 0.0
    return world


def halfway() -> tuple[World, Controller]:
    """A release of which another version gets half of the requests."""
    world = installed()
    world.upgrade("B")
    controller = analyst(world)
    while world.weight_percent() != 50:
        looks(world, 1, controller)
    return world, controller


def told(world: World) -> list[str]:
    return [event["reason"] for event in world.api.events]


def test_the_first_release_is_promoted_when_it_is_ready_and_the_target_stops() -> None:
    world = World(QUICK)
    world.upgrade("A")
    looks(world, 1)
    assert world.weight_percent() == 100
    assert world.model("cxr-primary") is None
    record = until_done(world)
    assert (world.pods("cxr-primary"), world.weight_percent()) == ("A", 0)
    assert record.phase == "idle"
    world.pass_time(LOOK_S)
    assert world.pods("cxr") is None


def test_a_first_release_that_never_becomes_ready_makes_no_primary() -> None:
    world = World(QUICK)
    world.broken.add("A")
    world.upgrade("A")
    looks(world, 60)
    assert world.model("cxr-primary") is None
    assert known(world).phase == "first"


def test_a_good_release_goes_through_every_step_and_no_request_is_lost() -> None:
    world = installed()
    world.upgrade("B")
    until_done(world)
    assert (world.pods("cxr-primary"), world.weight_percent()) == ("B", 0)
    assert world.lost == 0
    shares = [weight for _, served, weight in world.shares if served == "B"]
    assert sorted(set(shares)) == [50, 100]
    assert {"RolloutBegun", "VerdictAdvance", "VerdictPromote", "Promoted"} <= set(told(world))


def test_a_failing_release_is_rolled_back_for_good_and_no_request_is_lost() -> None:
    world = installed()
    world.failing["B"] = 0.3
    world.upgrade("B")
    record = until_done(world)
    assert (world.pods("cxr-primary"), world.weight_percent()) == ("A", 0)
    assert record.rejected == record.state.release
    assert world.lost == 0
    writes = len(world.api.writes)
    looks(world, 50)
    assert len(world.api.writes) == writes
    assert world.stopped()
    warning = next(event for event in world.api.events if event["reason"] == "VerdictRollback")
    assert warning["type"] == "Warning"
    assert "errors" in warning["message"]


def test_a_rejected_release_is_tried_again_when_a_person_says_so() -> None:
    world = installed()
    world.failing["B"] = 0.3
    world.upgrade("B")
    until_done(world)
    world.failing.clear()
    ask(world, "retry")
    looks(world, 1)
    assert not known(world).ended
    until_done(world)
    assert world.pods("cxr-primary") == "B"


def test_unchanged_values_disturb_nothing() -> None:
    world = installed()
    writes, calls = len(world.api.writes), world.api.calls
    world.upgrade("A")
    looks(world, 20)
    assert len(world.api.writes) == writes
    assert world.api.calls > calls


def test_a_second_upgrade_in_the_middle_begins_anew_without_traffic() -> None:
    world, controller = halfway()
    world.upgrade("C")
    looks(world, 1, controller)
    assert world.weight_percent() == 0
    until_done(world, controller)
    assert world.pods("cxr-primary") == "C"
    assert world.lost == 0


def test_an_upgrade_during_the_promotion_does_not_give_everything_to_what_nobody_looked_at() -> (
    None
):
    world = installed()
    world.upgrade("B")
    controller = analyst(world)
    while world.model("cxr-primary") != "B":
        looks(world, 1, controller)
    world.upgrade("C")
    looks(world, 2, controller)
    assert world.weight_percent() == 0
    until_done(world, controller)
    assert world.pods("cxr-primary") == "C"
    assert world.lost == 0


def test_going_back_to_what_was_promoted_ends_the_rollout_quietly() -> None:
    world = installed()
    world.upgrade("B")
    looks(world, 12)
    world.upgrade("A")
    record = until_done(world)
    assert (record.phase, record.rejected) == ("idle", "")
    assert "VerdictRollback" not in told(world)
    assert world.lost == 0
    world.upgrade("B")
    looks(world, 1)
    assert not known(world).ended


def test_a_target_that_never_becomes_ready_is_rolled_back() -> None:
    world = installed()
    world.broken.add("B")
    world.upgrade("B")
    record = until_done(world)
    assert record.state.last is not None
    assert "has not been ready" in record.state.last.reason
    assert world.pods("cxr-primary") == "A"
    assert world.lost == 0


def test_a_deleted_target_is_rolled_back_and_the_primary_stays() -> None:
    world, controller = halfway()
    del world.api.objects[service_path("cxr")]
    controller.look()
    assert world.weight_percent() == 0
    assert known(world).state.phase.value == "rolled back"
    looks(world, 5, controller)
    assert world.pods("cxr-primary") == "A"


def test_pods_that_an_autoscaler_adds_take_nothing_from_a_target_that_answers() -> None:
    world, controller = halfway()
    world.scaling = True
    looks(world, 3, controller)
    assert (known(world).phase, world.weight_percent()) == ("analysing", 50)
    world.scaling = False
    until_done(world, controller)
    assert world.pods("cxr-primary") == "B"


def test_the_primary_keeps_its_pods_for_the_requests_that_come_back() -> None:
    path = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers/cxr-primary"
    world = World(QUICK, {"autoscaling": {"type": "hpa", "min_replicas": 1}})
    world.upgrade("A")
    scaler = {"spec": {"minReplicas": 1, "maxReplicas": 6}, "metadata": {"resourceVersion": "1"}}
    world.api.objects[path] = scaler
    until_done(world)

    def least() -> int:
        return int(world.api.objects[path]["spec"]["minReplicas"])

    assert least() == 1
    world.replicas |= {"cxr-primary": 3, "cxr": 5}
    world.pass_time(LOOK_S)
    world.upgrade("B")
    controller = analyst(world)
    looks(world, 1, controller)
    assert least() == 3
    for _ in range(100):
        if world.model("cxr-primary") == "B":
            break
        looks(world, 1, controller)
    assert least() == 5
    until_done(world, controller)
    assert (world.pods("cxr-primary"), least()) == ("B", 1)


def test_a_target_that_loses_its_last_pod_gets_nothing_until_it_has_one() -> None:
    world, controller = halfway()
    deployment = world.api.objects[deployment_path("cxr")]
    deployment["status"]["availableReplicas"] = 0
    controller.look()
    assert (known(world).phase, world.weight_percent()) == ("waiting", 0)
    world.pass_time(LOOK_S)
    until_done(world, controller)
    assert world.pods("cxr-primary") == "B"
    assert world.lost == 0


def test_without_prometheus_nothing_moves() -> None:
    world, controller = halfway()
    world.prometheus_up = False
    looks(world, 100, controller)
    assert world.weight_percent() == 50
    last = known(world).state.last
    assert last is not None
    assert last.reason.startswith("the metrics cannot be had")
    world.prometheus_up = True
    until_done(world, controller)
    assert world.pods("cxr-primary") == "B"


def test_silence_neither_promotes_nor_rolls_back() -> None:
    world = installed()
    world.rate = 0.0
    world.upgrade("B")
    looks(world, 200)
    assert world.pods("cxr-primary") == "A"
    assert not known(world).ended


def test_a_primary_that_does_not_come_up_as_promoted_goes_back() -> None:
    world = installed()
    world.upgrade("B")
    controller = analyst(world)
    while world.model("cxr-primary") != "B":
        looks(world, 1, controller)
    world.broken.add("B")
    record = until_done(world, controller)
    assert record.rejected == record.state.release
    assert world.model("cxr-primary") == "A"
    assert "RolledBack" in told(world)


def ask(world: World, request: str) -> None:
    patch = {"metadata": {"annotations": {REQUEST: request}}}
    assert world.cluster.merge(CONFIG_MAP, NAMES.record, patch) is not None


def test_promote_pause_resume_and_abort_by_hand() -> None:
    world, controller = halfway()
    ask(world, "pause")
    looks(world, 60, controller)
    assert (known(world).phase, world.weight_percent()) == ("paused", 50)
    ask(world, "resume")
    looks(world, 1, controller)
    assert known(world).phase == "analysing"
    ask(world, "abort")
    record = until_done(world, controller)
    assert record.rejected == record.state.release
    assert world.pods("cxr-primary") == "A"
    ask(world, "retry")
    while known(world).phase != "analysing":
        looks(world, 1, controller)
    ask(world, "promote")
    until_done(world, controller)
    assert world.pods("cxr-primary") == "B"
    assert world.lost == 0


def test_a_request_is_met_once_and_an_unknown_one_is_refused() -> None:
    world = installed()
    ask(world, "explode")
    looks(world, 2)
    (event,) = [each for each in world.api.events if each["reason"] == "Refused"]
    assert "promote, pause, resume, abort, retry" in event["message"]
    assert world.api.objects[RECORD]["metadata"]["annotations"][REQUEST] == ""


def test_a_lost_record_is_made_good_from_the_primary() -> None:
    world = installed()
    del world.api.objects[RECORD]
    looks(world, 2)
    record = known(world)
    assert record.primary is not None
    assert record.serving == until_done(world).serving
    world.upgrade("B")
    until_done(world)
    assert world.pods("cxr-primary") == "B"


def test_a_route_that_somebody_changed_is_put_right() -> None:
    world = installed()
    world.api.objects[ROUTE]["spec"]["rules"][0]["backendRefs"][0]["weight"] = 7
    world.api.objects[ROUTE]["spec"]["rules"][0]["backendRefs"].append(
        {"name": "cxr-predictor", "port": 80, "weight": 93}
    )
    looks(world, 1)
    assert world.weight_percent() == 0


def killing(world: World, number: int) -> None:
    """Kill whoever makes the n-th call from now on, once."""
    last = world.api.calls + number

    def before(call: int) -> None:
        if call == last:
            world.api.calls += 1
            raise KilledError

    world.api.before = before


def rolled_out(world: World) -> World:
    """Upgrade to B and look until the end; who is killed is started again."""
    world.upgrade("B")
    controller = analyst(world)
    for _ in range(400):
        try:
            controller.look()
        except KilledError:
            controller = analyst(world)
            continue
        if controller.done:
            return world
        world.pass_time(LOOK_S)
    raise AssertionError("never done")


@pytest.mark.parametrize(("failing", "end"), [(0.0, "B"), (0.3, "A")])
def test_killed_before_any_call_it_comes_to_the_same_end(failing: float, end: str) -> None:
    begun = installed(policy={"steps": [50, 100], "min_step_s": 30, "settle_s": 10})
    begun.failing["B"], begun.rate = failing, 200.0
    calls = rolled_out(copy.deepcopy(begun)).api.calls - begun.api.calls
    assert calls > 50
    for number in range(calls):
        world = copy.deepcopy(begun)
        killing(world, number)
        rolled_out(world)
        assert (world.pods("cxr-primary"), world.weight_percent()) == (end, 0), number
        assert world.lost == 0, number
        assert bool(known(world).rejected) == bool(failing), number


def test_an_installation_killed_before_any_call_comes_to_the_same_end() -> None:
    for number in range(1000):
        world = World(QUICK)
        world.upgrade("A")
        killing(world, number)
        try:
            until_done(world)
        except KilledError:
            until_done(world)
        else:
            break
        assert (world.pods("cxr-primary"), world.weight_percent()) == ("A", 0), number
    assert number > 20


def test_looks_between_scrapes_tell_nothing_and_count_as_no_failure() -> None:
    world = installed(policy={"min_step_s": 900})
    world.scrape_s = 15.0
    controller = analyst(world)
    before = len(world.api.events)
    world.upgrade("B")
    until_done(world, controller)
    assert world.pods("cxr-primary") == "B"
    assert len(world.api.events) - before < 10
    failures = controller.telemetry.registry.get_sample_value(
        "sightline_rollout_failures_total", {"what": "metrics"}
    )
    assert not failures


def test_what_could_not_be_compared_is_not_told_as_compared() -> None:
    world, controller = halfway()
    world.prometheus_up = False
    seen_s = known(world).state.observed_at_s
    looks(world, 100, controller)
    name = "sightline_rollout_last_look_timestamp_seconds"
    assert controller.telemetry.registry.get_sample_value(name) == seen_s
    assert known(world).phase == "analysing"


def test_a_record_that_is_lost_while_the_primary_gets_more_pods_moves_no_requests() -> None:
    world = installed()
    world.scaling = True
    world.pass_time(LOOK_S)
    assert world.stopped()
    del world.api.objects[RECORD]
    looks(world, 4)
    assert (world.weight_percent(), world.lost) == (0, 0)
    world.scaling = False
    until_done(world)
    assert (world.pods("cxr-primary"), known(world).phase) == ("A", "idle")


def test_a_record_that_is_lost_before_the_primary_has_pods_leaves_the_requests_to_the_target() -> (
    None
):
    world = World(QUICK)
    world.upgrade("A")
    controller = analyst(world)
    while world.model("cxr-primary") is None:
        looks(world, 1, controller)
    lost = world.lost
    del world.api.objects[RECORD]
    until_done(world, controller)
    assert world.lost == lost
    assert world.pods("cxr-primary") == "A"


def test_what_the_chart_takes_out_of_the_route_is_written_at_the_next_look() -> None:
    world = installed()
    configured = world.api.objects[ANALYST]
    template = json.loads(configured["data"]["route.yaml"])
    writes = []
    for version, hostnames in (("2", {"hostnames": ["cxr.example.org"]}), ("3", {})):
        changed = template | {"spec": template["spec"] | hostnames}
        configured["data"]["route.yaml"] = json.dumps(changed)
        configured["metadata"]["resourceVersion"] = version
        before = len(world.api.writes)
        looks(world, 3)
        writes.append(world.api.writes[before:])
    assert writes == [[NAMES.route], [NAMES.route]]
    assert world.weight_percent() == 0


def test_a_file_that_is_missing_ends_a_look_and_not_the_analyst() -> None:
    world = World(
        QUICK | {"steps": [50, 100], "on_silence": "probe", "silence_s": 0},
        {"references": {"folder": "/nowhere"}},
    )
    world.upgrade("A")
    until_done(world)
    world.upgrade("B")
    world.rate = 0.0
    controller = analyst(world)
    taken = []

    def stopping(_: float) -> bool:
        taken.append(world.now_s)
        world.pass_time(LOOK_S)
        return len(taken) == 20

    controller.run(stopping)
    failures = controller.telemetry.registry.get_sample_value(
        "sightline_rollout_failures_total", {"what": "look"}
    )
    assert (failures or 0) > 5


def test_two_at_once_do_not_both_write() -> None:
    world = installed()
    world.upgrade("B")
    first, second = analyst(world), analyst(world)
    first.look()
    kept = records.read(world.cluster, NAMES)
    world.pass_time(LOOK_S)
    second.look()
    assert kept.record is not None
    owner = {"uid": "1"}
    with pytest.raises(ConflictError):
        records.write(world.cluster, NAMES, kept.record, kept.version, owner)


def test_settings_that_an_upgrade_changes_hold_from_the_next_look_on() -> None:
    world = installed()
    controller = analyst(world)
    controller.look()
    configured = world.api.objects[ANALYST]
    settings = json.loads(configured["data"]["analyst.yaml"])
    configured["data"]["analyst.yaml"] = json.dumps(settings | {"interval_s": 3})
    configured["metadata"]["resourceVersion"] = "2"
    controller.look()
    assert controller.interval_s == 3


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"analyst.yaml": "{}"}, "prometheus"),
        ({"analyst.yaml": "policy: [1"}, "cannot be used"),
        ({}, "analyst.yaml"),
    ],
)
def test_settings_that_cannot_be_used_are_told_with_their_place(
    data: dict[str, str], said: str
) -> None:
    world = World(QUICK)
    world.api.objects[ANALYST]["data"] = data
    with pytest.raises(SettingsError, match="models/cxr-analyst") as refused:
        analyst(world).look()
    assert said in str(refused.value)
    del world.api.objects[ANALYST]
    with pytest.raises(SettingsError, match=r"analyst\.enabled=true"):
        analyst(world).look()


def test_a_look_that_fails_is_followed_by_another_and_counted() -> None:
    world = installed()
    telemetry = Telemetry()
    controller = Controller(
        world.cluster, NAMES, telemetry, clock=lambda: world.now_s, source=world.metrics
    )
    world.upgrade("B")
    failing = world.api.calls + 30

    def before(call: int) -> None:
        if call == failing:
            world.api.calls += 1
            raise ApiError(0, "the API is away")

    def stopping(_: float) -> bool:
        world.pass_time(LOOK_S)
        return False

    world.api.before = before
    record = controller.run(stopping, until_done=True)
    assert (record.phase, world.pods("cxr-primary")) == ("idle", "B")
    failures = telemetry.registry.get_sample_value(
        "sightline_rollout_failures_total", {"what": "look"}
    )
    assert failures == 1
    assert telemetry.ready
