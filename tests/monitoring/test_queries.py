"""Every query of every panel and rule, asked of a real Prometheus that scrapes real predictors.

The series of kube-state-metrics and KEDA come from a file: there is no cluster here. Those of the
analyst are made by its own code, of figures that nobody measured.
"""

import math
import re
from collections.abc import Iterator

import pytest

from tests.monitoring.live import Watched, watched
from tests.monitoring.queries import DASHBOARDS, Asked, asked, filled, rules, selectors
from tests.predictor.bundles import make_bundle

# What a value of a unit may be: per cent are no share, and milliseconds no seconds.
BOUNDS = {
    "percentunit": (0.0, 1.0),
    "percent": (0.0, 100.0),
    "s": (-60.0, 1e6),
    "reqps": (0.0, 1e4),
    "bytes": (1e6, 1e11),
    "short": (0.0, 1e4),
    "sci": (0.0, 1.0),
    "dateTimeAsIso": (1.6e12, 4e12),
}
LATENCY_S = (0.0, 10.0)
COUNTED = (0.0, 1e5)
# All that the load does must have been scraped twice, or its rates are nothing.
SEEN = [
    'rate(sightline_requests_total{status="429"}[10s]) > 0',
    'rate(sightline_requests_total{status="504"}[10s]) > 0',
    'rate(sightline_image_errors_total{reason="corrupt"}[10s]) > 0',
    'rate(sightline_connections_closed_total{reason="head_timeout"}[10s]) > 0',
    'rate(sightline_answer_cache_lookups_total{result="hit"}[10s]) > 0',
    "rate(sightline_explanations_total[10s]) > 0",
    'rate(sightline_predictions_total{risk="Indeterminate"}[10s]) > 0',
    'sum without (verb) (sightline_requests_total{protocol="grpc"})',
]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    with watched(make_bundle(folder / "bundle"), folder) as running:
        running.load.start()
        try:
            for expr in SEEN:
                both = f"count(count by (serving_kserve_io_inferenceservice) ({expr})) == 2"
                running.prometheus.wait_until(both, "not seen of both versions")
            yield running
        finally:
            running.load.stop()


def query(live: Watched, expr: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Labels and values; what Grafana would draw."""
    found = live.prometheus.query(filled(expr, interval_s=10, range_s=30))
    return {
        tuple(sorted(each.labels.items())): each.value
        for each in found
        if not math.isnan(each.value)
    }


def bounds(unit: str, expr: str) -> tuple[float, float]:
    if unit == "s" and "sightline_stage_seconds" in expr:
        return LATENCY_S
    return BOUNDS.get(unit, COUNTED)


@pytest.mark.parametrize("each", list(asked()), ids=str)
def test_every_panel_has_data_of_its_unit(live: Watched, each: Asked) -> None:
    found = query(live, each.expr)
    assert found
    low, high = bounds(each.unit_of_values, each.expr)
    assert all(low <= value <= high for value in found.values()), found
    # There are no revisions in Standard mode.
    legend = each.legend.replace("{{serving_knative_dev_revision}}", "")
    for name in re.findall(r"\{\{(\w+)\}\}", legend):
        assert all(dict(labels).get(name) for labels in found), f"{name} is not in {found}"


@pytest.mark.parametrize("each", list(asked()), ids=str)
def test_every_series_that_a_panel_names_is_there(live: Watched, each: Asked) -> None:
    named = selectors(each.expr)
    assert named
    for selector in named:
        assert query(live, selector), selector


def test_every_rule_is_evaluated_over_series_that_are_there(live: Watched) -> None:
    # A recorded ratio over three days is as good as one over seconds, with seconds of data.
    live.prometheus.wait_until("release:sightline_unanswered:ratio_rate3d", "nothing is recorded")
    evaluated = {each["name"]: each for each in live.prometheus.rules()}
    for rule in rules(live.rendered):
        name = rule.get("record") or rule["alert"]
        assert evaluated[name]["health"] == "ok", evaluated[name]
        for selector in selectors(rule["expr"]):
            assert query(live, selector), f"{name}: {selector}"
        if "record" in rule:
            found = query(live, name)
            assert found, name
            assert all(0.0 <= value <= 1.0 for value in found.values()), (name, found)


def test_a_real_full_house_and_real_failures_are_seen_by_the_rules(live: Watched) -> None:
    (unanswered,) = query(live, "release:sightline_unanswered:ratio_rate5m").values()
    assert 0.02 < unanswered < 0.9
    assert query(live, "sum(ALERTS{alertname='SightlineRejecting'})")


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_and_annotations_have_data(live: Watched, name: str) -> None:
    dashboard = DASHBOARDS[name]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            inner = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            assert inner
            found = query(live, f"count by ({inner[2]}) ({inner[1]})")
            assert all(dict(labels).get(inner[2]) for labels in found)
            assert found, variable["definition"]
    (annotation,) = dashboard["annotations"]["list"]
    found = query(live, annotation["expr"])
    assert {dict(labels)["version"] for labels in found} == {"7", "8"}


def test_prometheus_counts_what_clients_were_told(live: Watched) -> None:
    live.load.stop()
    for service, told in zip(("cxr-primary", "cxr"), live.load.told, strict=True):
        assert {200, 400, 404, 415, 429, 504} <= set(told)
        for status, count in told.items():
            selector = (
                f'sightline_requests_total{{serving_kserve_io_inferenceservice="{service}",'
                f'status="{status}"}}'
            )
            live.prometheus.wait_until(f"sum({selector}) == {count}", "it counts otherwise")
