"""Panels, and the JSON that Grafana reads of them.

The form is that of Grafana's dashboard JSON model:
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JSON = dict[str, Any]
Kind = Literal["timeseries", "stat", "table", "heatmap", "bargauge"]

SOURCE: JSON = {"type": "prometheus", "uid": "${datasource}"}
# Of Grafana's units, and what a value of it may be.
UNITS = {
    "reqps": "requests per second",
    "s": "seconds",
    "bytes": "bytes",
    "percentunit": "a share, 0 to 1",
    "percent": "per cent, 0 to 100",
    "short": "a number",
    "suffix: images/s": "images per second",
    "suffix: images": "images",
    "suffix: CPUs": "CPUs",
    "suffix:/s": "events per second",
    "suffix:×": "a factor",
    "sci": "a small number",
    "dateTimeAsIso": "milliseconds since 1970",
}


@dataclass(frozen=True)
class Query:
    """What Prometheus is asked, and how its series are called: `{{label}}` stands for a label."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: a label, or `Value` and the query's letter."""

    name: str
    title: str
    unit: str = "short"
    words: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        shows: what is seen.
        act: what to do when it is not as it should be.
        unit: of the values, in Grafana's words; see `UNITS`.
        steps: from which value on which colour, for a single number.
        columns: of a table, in their order.
        words: what is shown in place of a number.
        whole: whether a share is drawn on an axis up to 1, as that of a mix; of errors it is not.
        named: whether a single number is shown by the name of its series.
        decimals: digits after the point; Grafana's choice if None.
    """

    title: str
    unit: str
    shows: str
    act: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    steps: tuple[tuple[float | None, str], ...] = ()
    columns: tuple[Column, ...] = ()
    words: Mapping[int, str] = field(default_factory=dict)
    whole: bool = True
    named: bool = False
    decimals: int | None = None

    @property
    def instant(self) -> bool:
        return self.kind in ("table", "bargauge")

    def to_json(self, number: int, x: int, y: int) -> JSON:
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": f"{self.shows}\n\n**What to do:** {self.act}",
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [
                self._target(*each) for each in zip("ABCDEFGH", self.queries, strict=False)
            ],
            "fieldConfig": self._fields(),
            "options": self._options(),
            **self._transformed(),
        }

    def _target(self, letter: str, query: Query) -> JSON:
        form = {"table": "table", "heatmap": "heatmap"}.get(self.kind, "time_series")
        return {
            "refId": letter,
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "format": form,
            "instant": self.instant,
            "range": not self.instant,
        }

    def _fields(self) -> JSON:
        defaults: JSON = {"unit": self.unit, "mappings": _mapped(self.words)}
        if self.unit == "percentunit":
            defaults |= {"min": 0, "max": 1} if self.whole else {"min": 0}
        elif self.unit == "percent":
            defaults |= {"min": 0, "max": 100}
        elif self.kind == "timeseries":
            defaults["min"] = 0
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        steps = self.steps or ((None, "blue" if self.kind == "stat" else "green"),)
        defaults["thresholds"] = {
            "mode": "absolute",
            "steps": [{"value": value, "color": colour} for value, colour in steps],
        }
        if self.kind == "stat":
            defaults["color"] = {"mode": "thresholds"}
        if self.kind == "timeseries":
            defaults["custom"] = {
                "lineWidth": 1,
                "fillOpacity": 60 if self.stacked else 8,
                "showPoints": "never",
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            }
        overrides = [
            {
                "matcher": {"id": "byName", "options": column.title},
                "properties": [
                    {"id": "unit", "value": column.unit},
                    {"id": "mappings", "value": _mapped(column.words)},
                ],
            }
            for column in self.columns
            if column.unit != "short" or column.words
        ]
        return {"defaults": defaults, "overrides": overrides}

    def _options(self) -> JSON:
        last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        options: dict[Kind, JSON] = {
            "timeseries": {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
            "stat": {
                "reduceOptions": last,
                "colorMode": "value",
                "graphMode": "none" if self.named else "area",
                "textMode": "name" if self.named else "auto",
            },
            "table": {"showHeader": True, "cellHeight": "sm"},
            "bargauge": {
                "reduceOptions": last,
                "orientation": "horizontal",
                "displayMode": "basic",
            },
            "heatmap": {
                "calculate": False,
                "yAxis": {"unit": self.unit, "axisPlacement": "left"},
                "color": {"mode": "scheme", "scheme": "Blues", "steps": 64},
                "cellGap": 0,
            },
        }
        return options[self.kind]

    def _transformed(self) -> JSON:
        if self.kind != "table":
            return {}
        # One row for each set of labels; what is not among the columns is hidden.
        shown = {column.name: place for place, column in enumerate(self.columns)}
        return {
            "transformations": [
                {"id": "merge", "options": {}},
                {
                    "id": "filterFieldsByName",
                    "options": {"include": {"names": list(shown)}},
                },
                {
                    "id": "organize",
                    "options": {
                        "indexByName": shown,
                        "renameByName": {each.name: each.title for each in self.columns},
                    },
                },
            ]
        }


def _mapped(words: Mapping[int, str]) -> list[JSON]:
    if not words:
        return []
    options = {str(value): {"text": text, "index": value} for value, text in words.items()}
    return [{"type": "value", "options": options}]
