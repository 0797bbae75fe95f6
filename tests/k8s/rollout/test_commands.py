"""The command line, on the fake cluster."""

import json
from typing import Any

import pytest

from k8s.rollout.__main__ import ROLLED_BACK, main
from k8s.rollout.names import REQUEST
from tests.k8s.rollout.fake_cluster import RECORD, World
from tests.k8s.rollout.test_controller import LOOK_S, QUICK, analyst, installed, looks, until_done

ABOUT = ("--name", "cxr", "--namespace", "models")


def command(world: World, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("k8s.rollout.__main__.KubernetesTransport", lambda context: world.api)
    return main([*arguments, *ABOUT])


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_status_says_where_it_is_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = installed()
    assert command(world, monkeypatch, "status") == 0
    said = printed(capsys)
    assert (said["phase"], said["weight_percent"]) == ("idle", 0)
    world.upgrade("B")
    controller = analyst(world)
    while world.weight_percent() != 50:
        looks(world, 1, controller)
    assert command(world, monkeypatch, "status") == 0
    said = printed(capsys)
    assert (said["phase"], said["weight_percent"]) == ("analysing", 50)
    assert "errors" in said["last"]["figures"]["comparisons"]


def test_without_a_record_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(QUICK)
    for each in ("status", "pause"):
        assert command(world, monkeypatch, each) == 1
        assert "no rollout of models/cxr is known" in capsys.readouterr().err


@pytest.mark.parametrize("request_", ["promote", "pause", "resume", "abort", "retry"])
def test_a_request_is_left_for_the_analyst(request_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = installed()
    assert command(world, monkeypatch, request_) == 0
    assert world.api.objects[RECORD]["metadata"]["annotations"][REQUEST] == request_


def test_once_takes_one_look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(QUICK)
    world.upgrade("A")
    world.pass_time(LOOK_S)
    assert command(world, monkeypatch, "once") == 0
    assert printed(capsys)["phase"] == "first"
    assert world.weight_percent() == 100


@pytest.mark.parametrize(("failing", "code"), [(0.0, 0), (0.3, ROLLED_BACK)])
def test_until_done_ends_with_how_it_went(
    failing: float, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = installed()
    world.failing["B"] = failing
    world.upgrade("B")
    until_done(world)
    assert command(world, monkeypatch, "run", "--until-done", "--port", "0") == code
