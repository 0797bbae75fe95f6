"""What dashboards and rules ask, taken out of the chart."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.helm.chart import CHART, Object, Rendered

DASHBOARDS = {
    file.stem: json.loads(file.read_text())
    for file in sorted((CHART / "dashboards").glob("*.json"))
}
WATCHED: Any = {"prometheusRule": {"enabled": True}}
# A name that a matcher, a range or nothing follows, and no parenthesis: a metric.
_METRIC = re.compile(r"(?<![\w:$.])([a-z_][\w:]*)(?=\s*(?:\{|\[|[)>*/\s]|$))")
_WORDS = {"and", "or", "unless", "offset", "bool", "by", "sum", "max", "min", "count"}
_SELECTOR = re.compile(r"[a-z_][\w:]*\{[^}]*\}")


@dataclass(frozen=True)
class Asked:
    """A query of a panel, and the letter that it has there."""

    dashboard: str
    panel: Object
    letter: str
    expr: str
    legend: str

    @property
    def title(self) -> str:
        return str(self.panel["title"])

    @property
    def unit(self) -> str:
        return str(self.panel["fieldConfig"]["defaults"]["unit"])

    @property
    def unit_of_values(self) -> str:
        """Of what the query returns: a table's columns have their own, and a heatmap counts."""
        if self.panel["type"] == "heatmap":
            return "reqps"
        for override in self.panel["fieldConfig"]["overrides"]:
            column = self.panel["transformations"][-1]["options"]["renameByName"]
            if column.get(f"Value #{self.letter}") == override["matcher"]["options"]:
                return str(override["properties"][0]["value"])
        return self.unit

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.title}: {self.expr}"


def panels() -> Iterator[tuple[str, Object]]:
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                yield name, panel


def asked() -> Iterator[Asked]:
    for name, panel in panels():
        for target in panel["targets"]:
            yield Asked(name, panel, target["refId"], target["expr"], target["legendFormat"])


def rules(rendered: Rendered) -> list[Object]:
    groups = rendered.one("PrometheusRule")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def selectors(expr: str) -> list[str]:
    """Every `metric{...}`, without its range and offset."""
    return _SELECTOR.findall(expr)


def metrics(expr: str) -> set[str]:
    """Names of the metrics in a query."""
    bare = re.sub(r"\"[^\"]*\"", '""', expr)
    # Labels are among words like `by (...)`, and in braces.
    bare = re.sub(r"\b(by|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\{[^}]*\}", "{}", bare)
    return {name for name in _METRIC.findall(bare) if name not in _WORDS}


def filled(expr: str, *, interval_s: int, range_s: int) -> str:
    """The query as Grafana would send it."""
    variables = {
        each["name"]: each.get("allValue") or each.get("current", {}).get("value", "")
        for dashboard in DASHBOARDS.values()
        for each in dashboard["templating"]["list"]
    }
    known = variables | {
        "namespace": "models",
        "release": "cxr",
        "__rate_interval": f"{interval_s}s",
        "__range": f"{range_s}s",
    }
    return re.sub(r"\$(\w+)", lambda found: known[found[1]], expr)
