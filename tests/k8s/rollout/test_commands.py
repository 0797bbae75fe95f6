"""The command line, on the fake cluster."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import latest_version, validate

from k8s.rollout.__main__ import ROLLED_BACK, main, parser
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


def test_the_documented_job_is_one_and_is_not_repeated_after_a_rollback() -> None:
    text = (Path(__file__).parents[3] / "docs/rollout.md").read_text()
    (job,) = map(
        yaml.safe_load, re.findall(r"```yaml\n(apiVersion: batch/v1.*?)```", text, re.DOTALL)
    )
    validate(job, latest_version(), strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert parser().parse_args(container["args"]).until_done
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [ROLLED_BACK]
