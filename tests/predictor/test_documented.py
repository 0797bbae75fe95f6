"""The tables in docs/ say what the code does: nothing is missing in either."""

import re
from pathlib import Path

import httpx
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from predictor import errors
from predictor.connection import Connections
from predictor.metrics import Metrics
from predictor.settings import Settings
from tests.predictor.servers import RunningServer

DOCS = Path(__file__).parents[2] / "docs"


def rows(file: str) -> list[list[str]]:
    lines = (DOCS / file).read_text().splitlines()
    tables = [line for line in lines if line.startswith("| `")]
    return [re.split(r"\s*\|\s*", line)[1:-1] for line in tables]


def ticked(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_metric_is_in_the_table_with_its_type_and_labels() -> None:
    documented = {
        ticked(name)[0]: (kind, ticked(labels)) for name, kind, labels, _ in rows("metrics.md")
    }
    made = {}
    for metric in vars(Metrics(CollectorRegistry())).values():
        assert isinstance(metric, MetricWrapperBase)
        suffix = "_total" if metric._type == "counter" else ""
        made[metric._name + suffix] = (metric._type, list(metric._labelnames))
    assert documented == made


def test_every_reason_of_a_rejection_is_in_the_table() -> None:
    text = next(row[3] for row in rows("metrics.md") if "rejections" in row[0])
    kinds = [*errors.RequestError.__subclasses__(), *errors.QueueFullError.__subclasses__()]
    reasons = {kind.reason for kind in kinds if kind is not errors.ItemError} | {"internal"}
    assert set(ticked(text)) == reasons


def test_names_and_units_follow_prometheus_conventions(server: RunningServer) -> None:
    for name, kind, *_ in rows("metrics.md"):
        assert re.fullmatch(r"`sightline_[a-z_]+`", name)
        assert name.endswith("_total`") == (kind == "counter")
        assert not re.search(r"_(ms|seconds_total|millis|mb|kb|count|sum|bucket)`", name)
    text = httpx.get(server.url + "/metrics").text
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert f"\n{name} " in text


def test_every_setting_is_in_the_table_with_its_default() -> None:
    documented = {ticked(row[0])[0]: row[1] for row in rows("operations.md")}
    assert list(documented) == list(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        if field.default is not None:
            assert documented[name] == f"`{field.default}`"
        else:
            assert not re.fullmatch(r"`[0-9.]+`", documented[name])
    assert Settings().upload_bytes == 8 * Settings().max_body_bytes


def test_reasons_of_closed_connections_are_in_the_table() -> None:
    source = Path(str(Connections.__module__).replace(".", "/") + ".py")
    code = (DOCS.parent / source).read_text()
    found = set(re.findall(r"(?:\.end|on_closed)\(\"([a-z_]+)\"", code))
    text = next(row[3] for row in rows("metrics.md") if "connections_closed" in row[0])
    assert set(ticked(text)) == found
