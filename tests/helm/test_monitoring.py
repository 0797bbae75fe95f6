"""What has a release watched: rules and dashboards, as its values ask for."""

import json
import re
from functools import cache
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from predictor.metrics import Metrics
from tests.helm.chart import CHART, ROOT, Object, Rendered, refusal
from tests.helm.test_traffic import CANARY, ROUTE

ANALYST: Any = {
    "analyst": {"enabled": True, "prometheus": {"address": "http://prometheus"}},
    "route": ROUTE,
}
KINDS = ("PodMonitor", "PrometheusRule", "ConfigMap")


@cache
def rendered_once(values: str) -> Rendered:
    return Rendered(json.loads(values))


def rules(values: Any = None, **others: Any) -> dict[str, Object]:
    given = {"prometheusRule": {"enabled": True} | (values or {}), **others}
    groups = rendered_once(json.dumps(given)).one("PrometheusRule")["spec"]["groups"]
    return {
        rule.get("alert") or rule["record"]: rule for group in groups for rule in group["rules"]
    }


def alerts(values: Any = None, **others: Any) -> dict[str, Object]:
    return {name: each for name, each in rules(values, **others).items() if "alert" in each}


def test_nothing_is_watched_by_default() -> None:
    assert not any(Rendered().all(kind) for kind in KINDS)


def test_every_dashboard_is_a_config_map_that_the_sidecar_finds() -> None:
    rendered = Rendered({"dashboards": {"enabled": True, "annotations": {"grafana_folder": "X"}}})
    files = {f"sightline-{file.name}": file for file in (CHART / "dashboards").glob("*.json")}
    assert len(files) == 4
    found: dict[str, str] = {}
    for item in rendered.all("ConfigMap"):
        assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert item["metadata"]["annotations"] == {"grafana_folder": "X"}
        assert len(json.dumps(item)) < 1_000_000
        found |= item["data"]
    assert {name: json.loads(text) for name, text in found.items()} == {
        name: json.loads(file.read_text()) for name, file in files.items()
    }


def test_labels_of_the_rules_and_of_the_alerts_are_their_own() -> None:
    given = {"additionalLabels": {"release": "p"}, "alertLabels": {"team": "imaging"}}
    rendered = Rendered({"prometheusRule": {"enabled": True, **given}})
    assert rendered.one("PrometheusRule")["metadata"]["labels"]["release"] == "p"
    for each in alerts(given).values():
        assert each["labels"]["team"] == "imaging"
        assert each["labels"]["release"] == "cxr"


def test_every_alert_has_severity_summary_description_and_a_runbook_that_is_there() -> None:
    text = (ROOT / "docs/runbooks.md").read_text()
    sections = {
        title.lower().replace(" ", "-"): body
        for title, body in re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", text, re.MULTILINE)
    }
    found = alerts({"runbookUrl": "https://example.com/r.md"}, **ANALYST)
    assert len(found) > 13
    for name, each in found.items():
        assert each["labels"]["severity"] in ("critical", "warning")
        told = each["annotations"]
        assert set(told) == {"summary", "description", "runbook_url"}
        address, section = told["runbook_url"].split("#")
        assert address == "https://example.com/r.md"
        assert name in sections[section], f"{name} is not named in the section {section}"


def test_every_alert_is_in_the_documentation_with_its_severity() -> None:
    text = (ROOT / "docs/monitoring.md").read_text()
    found: dict[str, str] = {}
    rows = re.compile(r"^\| (`Sightline[^|]+) \| ([a-z, ]+) \|", re.MULTILINE)
    for names, severities in rows.findall(text):
        said, known = severities.split(", "), re.findall(r"`(\w+)`", names)
        found |= dict(zip(known, said * (len(known) // len(said)), strict=True))
    made = alerts({"severity": {"page": "page", "ticket": "ticket"}}, **ANALYST)
    assert found == {name: each["labels"]["severity"] for name, each in made.items()}


def test_each_limit_reaches_its_alert() -> None:
    limits = {
        "queueShare": (0.61, "SightlineQueueSaturated"),
        "rejectedShare": (0.062, "SightlineRejecting"),
        "unreadableShare": (0.063, "SightlineImagesUnreadable"),
        "classShare": (0.94, "SightlineClassCollapse"),
        "abstainedShare": (0.65, "SightlineAbstentionSurge"),
        "abstainedFactor": (6.6, "SightlineAbstentionSurge"),
        "minImages": (6700, "SightlineClassCollapse"),
    }
    found = alerts({"thresholds": {name: value for name, (value, _) in limits.items()}})
    for value, alert in limits.values():
        assert re.search(rf"(?<![\d.]){value}(?![\d.])", found[alert]["expr"]), alert
    assert "> 0.74" in found["SightlineClassCollapse"]["expr"]
    slo = {"minRequests": 123, "availability": {"objective": 0.999}}
    expr = alerts({"slo": slo})["SightlineAvailabilityBurnFast"]["expr"]
    assert "> 14.4 * (1 - 0.999)" in expr
    assert ">= 123" in expr


@pytest.mark.parametrize(("seconds", "le"), [(1, "1.0"), (0.25, "0.25"), (10, "10.0")])
def test_the_threshold_of_the_latency_is_a_bucket_as_it_is_scraped(seconds: float, le: str) -> None:
    registry = CollectorRegistry()
    Metrics(registry).stage_seconds.labels("total").observe(0.1)
    (family,) = (each for each in registry.collect() if each.name == "sightline_stage_seconds")
    bounds = {each.labels["le"] for each in family.samples if each.name.endswith("_bucket")}
    assert le in bounds
    recorded = rules({"slo": {"latency": {"thresholdSeconds": seconds}}})
    assert f'le="{le}"' in recorded["release:sightline_late:ratio_rate1h"]["expr"]
    schema = json.loads((CHART / "values.schema.json").read_text())
    slo = schema["properties"]["prometheusRule"]["properties"]["slo"]
    offered = slo["properties"]["latency"]["properties"]["thresholdSeconds"]["enum"]
    assert {float(each) for each in offered} == {float(each) for each in bounds} - {float("inf")}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"slo": {"latency": {"thresholdSeconds": 0.3}}}, "thresholdSeconds"),
        ({"slo": {"availability": {"objective": 99.5}}}, "objective"),
        ({"slo": {"availability": {"objective": 0.9}}}, "objective"),
        ({"thresholds": {"classShare": 90}}, "classShare"),
        ({"labels": {}}, "labels"),
    ],
)
def test_what_could_never_fire_is_refused(values: Any, said: str) -> None:
    assert said in refusal({"prometheusRule": {"enabled": True, **values}})


def test_a_release_that_may_have_no_pods_is_not_missed() -> None:
    keda = {
        "type": "keda",
        "minReplicas": 0,
        "keda": {"serverAddress": "http://p", "query": "sum(x)"},
    }
    none = {"autoscaling": keda, "podDisruptionBudget": {"enabled": False}}
    assert "vector(0)" in alerts()["SightlineNoChampion"]["expr"]
    assert "vector(0)" not in alerts(**none)["SightlineNoChampion"]["expr"]


def test_a_canary_is_no_champion() -> None:
    expr = alerts(route=ROUTE, canary=CANARY)["SightlineNoChampion"]["expr"]
    assert 'serving_kserve_io_inferenceservice="cxr"' in expr


def test_with_the_analyst_the_primary_is_the_champion_and_rollouts_are_watched() -> None:
    found = alerts(**ANALYST)
    expr = found["SightlineNoChampion"]["expr"]
    assert 'serving_kserve_io_inferenceservice="cxr-primary"' in expr
    of_the_analyst = {"SightlineRolloutStuck", "SightlineRolledBack", "SightlineAnalystSilent"}
    assert set(found) - set(alerts()) == of_the_analyst
    knative = {"deploymentMode": "Knative", "autoscaling": {"type": "knative"}}
    expr = alerts(**ANALYST | {"route": {}}, **knative)["SightlineNoChampion"]["expr"]
    assert 'serving_kserve_io_inferenceservice="cxr"' in expr


def test_in_knative_mode_no_deployment_is_asked_for() -> None:
    knative = {"deploymentMode": "Knative", "autoscaling": {"type": "knative"}}
    assert "SightlinePodsNotStarting" not in alerts(**knative)


def test_a_longer_start_is_waited_for() -> None:
    assert alerts()["SightlinePodsNotStarting"]["for"] == "15m"
    longer = alerts(probes={"startupSeconds": 1800})
    assert longer["SightlinePodsNotStarting"]["for"] == "35m"


def test_the_jobs_are_the_chart_s_unless_others_are_named() -> None:
    assert 'job_name=~"cxr-training-.+"' in alerts()["SightlineTrainingFailed"]["expr"]
    others = alerts({"trainingJobs": "(re)?train.*"})
    assert 'job_name=~"(re)?train.*"' in others["SightlineTrainingFailed"]["expr"]
