"""The dashboards as files: current, complete, and about metrics that the code has."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from predictor.metrics import Metrics
from scripts.dashboards.layout import COLUMNS
from scripts.dashboards.panels import UNITS
from tests.helm.chart import CHART, ROOT, Object, Rendered
from tests.monitoring.analyst import Analyst
from tests.monitoring.exporter import CLUSTER
from tests.monitoring.queries import DASHBOARDS, WATCHED, Asked, asked, metrics, panels, rules

# Of Grafana: https://grafana.com/docs/grafana/latest/dashboards/variables/add-template-variables/#global-variables
BUILT_IN = {"__rate_interval", "__range"}
# Of the client library: https://prometheus.github.io/client_python/collector/
OF_THE_PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.dashboards", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_files_are_what_the_generator_writes() -> None:
    result = generate("--check")
    assert result.returncode == 0, result.stderr


def test_a_changed_a_missing_and_a_superfluous_file_are_noticed(tmp_path: Path) -> None:
    folder = Path(copytree(CHART / "dashboards", tmp_path / "dashboards"))
    serving = folder / "serving.json"
    serving.write_text(serving.read_text().replace("Requests", "Queries"))
    (folder / "model.json").unlink()
    (folder / "cost.json").write_text("{}")
    check = generate("--check", "--folder", str(folder))
    assert check.returncode == 1
    for name in ("serving", "model", "cost"):
        assert f"{name}.json is not current" in check.stderr
    assert generate("--folder", str(folder)).returncode == 0
    assert generate("--check", "--folder", str(folder)).returncode == 0


def exposed() -> set[str]:
    """Names of all series that code and cluster have."""
    registry = CollectorRegistry()
    Metrics(registry)
    text = generate_latest(registry).decode() + generate_latest(Analyst().registry).decode()
    types = re.findall(r"# TYPE (\w+) (\w+)", text)
    found = {name for name, _ in types} | OF_THE_PROCESS
    for name, kind in types:
        if kind == "histogram":
            found |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    return found | set(re.findall(r"^(\w+)\{", CLUSTER.read_text(), re.MULTILINE))


@pytest.mark.parametrize("each", list(asked()), ids=str)
def test_every_metric_of_a_panel_exists(each: Asked) -> None:
    assert metrics(each.expr)
    assert metrics(each.expr) <= exposed()


def test_every_metric_of_a_rule_exists() -> None:
    found = rules(Rendered(WATCHED))
    recorded = {each["record"] for each in found if "record" in each}
    for each in found:
        assert metrics(each["expr"]) <= exposed() | recorded, each


def test_names_are_found_in_every_form_of_a_query() -> None:
    expr = (
        'sum by (a, le) (rate(b_total{x="y_z"}[5m])) / on (c) group_left () (d:e:f > 0)'
        " or max(time() - g_h) unless i offset 5m"
    )
    assert metrics(expr) == {"b_total", "d:e:f", "g_h", "i"}


@pytest.mark.parametrize("each", list(asked()), ids=str)
def test_the_unit_is_that_of_the_metric(each: Asked) -> None:
    unit, expr = each.unit_of_values, each.expr
    assert unit in UNITS
    timed = bool(re.search(r"_seconds(_bucket|_sum)?\{|_time\{|time\(\)", expr))
    if unit == "s":
        assert timed
    elif unit == "bytes":
        assert "_bytes{" in expr
    elif unit == "reqps":
        assert "rate(" in expr
        assert re.search(r"_(total|bucket)\{", expr)
    elif unit == "percentunit":
        assert " / " in expr or "sightline_confidence" in expr


def every_panel() -> Iterator[Object]:
    yield from (panel for _, panel in panels())


def test_every_panel_says_what_it_shows_and_what_to_do() -> None:
    for panel in every_panel():
        shows, what_to_do = panel["description"].split("\n\n**What to do:** ")
        assert len(shows) > 10, panel["title"]
        assert len(what_to_do) > 10, panel["title"]


def test_a_runbook_that_a_panel_names_is_there() -> None:
    sections = re.findall(r"^## (.+)$", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)
    named = {
        name
        for panel in every_panel()
        for text in re.findall(r"[Rr]unbook ((?:'[^']+'(?:, | and )?)+)", panel["description"])
        for name in re.findall(r"'([^']+)'", text)
    }
    assert len(named) > 6
    assert named <= set(sections)


def test_a_panel_that_a_runbook_names_is_there() -> None:
    text = (ROOT / "docs/runbooks.md").read_text()
    titles = {str(each["title"]) for page in DASHBOARDS.values() for each in page["panels"]}
    known = {*titles, "Serving", "Model", "Rollout", "Training", "Status / Targets"}
    named = {
        name.replace("\n", " ")
        for name in re.findall(r"(?<!\*)\*([A-Z][^*]+?)\*(?!\*)", text)
        if not name.startswith("Sightline")
    }
    assert len(named) > 10
    assert named <= known


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    numbers = set()
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        numbers.add(panel["id"])
    assert len(numbers) == len(DASHBOARDS[name]["panels"])


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_is_defined(name: str) -> None:
    dashboard = DASHBOARDS[name]
    defined = {each["name"] for each in dashboard["templating"]["list"]}
    assert {"datasource", "namespace", "release"} <= defined
    used = set(re.findall(r"\$\{?(\w+)", str(dashboard["panels"]) + str(dashboard["annotations"])))
    assert used <= defined | BUILT_IN
    for panel in every_panel():
        for each in (panel, *panel["targets"]):
            assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_each_leads_to_the_others_with_time_and_variables(name: str) -> None:
    links = DASHBOARDS[name]["links"]
    others = {f"/d/{each['uid']}" for key, each in DASHBOARDS.items() if key != name}
    assert {each["url"] for each in links} == others
    assert all(each["keepTime"] and each["includeVars"] for each in links)


def test_an_expression_has_a_letter_of_its_own() -> None:
    for panel in every_panel():
        letters = [each["refId"] for each in panel["targets"]]
        assert letters == list("ABCDEFGH")[: len(letters)]
        assert letters, panel["title"]
