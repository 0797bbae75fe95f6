"""What the analyst says of itself."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from k8s.rollout.course import REQUESTS
from k8s.rollout.record import Record
from k8s.rollout.telemetry import PHASES, Door, JsonLines, Telemetry
from tests.k8s.rollout.test_controller import analyst, installed, looks

DOCS = Path(__file__).parents[3] / "docs/rollout.md"


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def door(telemetry: Telemetry) -> Iterator[Door]:
    found = Door(telemetry, 0, patience_s=60)
    yield found
    found.close()


def status(door: Door, path: str) -> int:
    return httpx.get(f"http://127.0.0.1:{door.port}{path}").status_code


def test_ready_after_the_first_look_or_while_another_leads(
    telemetry: Telemetry, door: Door
) -> None:
    assert status(door, "/readyz") == 503
    telemetry.ready = True
    assert status(door, "/readyz") == 200
    telemetry.lead()
    assert status(door, "/readyz") == 503


def test_alive_as_long_as_looks_end(telemetry: Telemetry, door: Door) -> None:
    assert status(door, "/healthz") == 200
    telemetry.alive_at -= 61
    assert status(door, "/healthz") == 503
    telemetry.beat()
    assert status(door, "/healthz") == 200
    assert status(door, "/") == 404


def test_phase_and_shares_are_metrics(telemetry: Telemetry, door: Door) -> None:
    telemetry.standing(Record(weight_percent=25))
    text = httpx.get(f"http://127.0.0.1:{door.port}/metrics").text
    assert "sightline_rollout_weight_percent 25.0" in text
    assert 'sightline_rollout_phase{phase="first"} 1.0' in text
    assert text.count("sightline_rollout_phase{") == len(PHASES)


def test_every_figure_of_a_verdict_is_a_metric() -> None:
    world = installed()
    world.upgrade("B")
    controller = analyst(world)
    while world.weight_percent() != 50:
        looks(world, 1, controller)
    looks(world, 6, controller)
    registry = controller.telemetry.registry
    for comparison in ("errors", "latency_p99", "classes"):
        for figure in ("primary", "target", "effect", "margin", "evidence", "sample"):
            labels = {"comparison": comparison, "figure": figure}
            assert registry.get_sample_value("sightline_rollout_figure", labels) is not None, labels
    labels = {"comparison": "", "figure": "target_requests"}
    assert (registry.get_sample_value("sightline_rollout_figure", labels) or 0) > 0


def test_every_metric_is_documented_with_its_type_and_labels(telemetry: Telemetry) -> None:
    rows = re.findall(
        r"^\| `(sightline_rollout_\w+)` \| (\w+) \| (.*?) \|", DOCS.read_text(), re.MULTILINE
    )
    documented = {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}
    made = {}
    for metric in telemetry.metrics:
        suffix = "_total" if metric._type == "counter" else ""
        made[metric._name + suffix] = (metric._type, list(metric._labelnames))
    assert documented == made


def test_phases_and_requests_are_documented() -> None:
    text = DOCS.read_text()
    for word in (*PHASES, *REQUESTS):
        assert f"`{word}`" in text, word


def test_logs_are_one_json_object_a_line_with_what_was_given() -> None:
    record = logging.makeLogRecord(
        {"msg": "a look %s", "args": ("failed",), "levelname": "ERROR", "name": "k8s", "error": "x"}
    )
    line = JsonLines().format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert (said["message"], said["level"], said["error"]) == ("a look failed", "error", "x")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said["time"])
