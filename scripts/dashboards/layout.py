"""Rows and dashboards: where panels are, and what leads from one page to another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scripts.dashboards.panels import JSON, Panel

SCHEMA_VERSION = 39
COLUMNS = 24


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """One page.

    Attributes:
        name: of its file, and of its address after `sightline-`.
        shows: what it is for.
        variables: in Grafana's form, without the data source, which every one has.
        annotations: what is marked in every picture, in Grafana's form.
    """

    name: str
    title: str
    shows: str
    variables: tuple[JSON, ...]
    annotations: tuple[JSON, ...]
    rows: tuple[Row, ...]

    @property
    def uid(self) -> str:
        return f"sightline-{self.name}"

    def to_json(self, others: Sequence["Dashboard"]) -> JSON:
        return {
            "uid": self.uid,
            "title": f"Sightline / {self.title}",
            "description": self.shows,
            "tags": ["sightline"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "links": [_link(each) for each in others if each is not self],
            "templating": {"list": [_SOURCES, *self.variables]},
            "annotations": {"list": list(self.annotations)},
            "panels": list(_placed(self.rows)),
        }


_SOURCES: JSON = {
    "name": "datasource",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "refresh": 1,
}


def _link(other: Dashboard) -> JSON:
    return {
        "title": other.title,
        "tooltip": other.shows,
        "type": "link",
        "icon": "dashboard",
        "url": f"/d/{other.uid}",
        "keepTime": True,
        "includeVars": True,
        "targetBlank": False,
    }


def _placed(rows: Sequence[Row]) -> Iterator[JSON]:
    """Panels from left to right, and on the next line when one is full."""
    number, y = 1, 0
    for row in rows:
        position = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": position,
            "panels": [],
        }
        number, x, y, line = number + 1, 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, line = 0, y + line, 0
            yield panel.to_json(number, x, y)
            number, x, line = number + 1, x + panel.width, max(line, panel.height)
        y += line
