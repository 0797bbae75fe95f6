"""A dashboard drawn from answers of Prometheus: roughly what Grafana would show."""

import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox

from tests.helm.chart import Object
from tests.monitoring.programs import Prometheus, Sample, Series
from tests.monitoring.queries import filled
from tests.monitoring.units import formatted

COLUMNS, LINE_IN, COLUMN_IN = 24, 0.36, 0.75
INTERVAL_S = 10


def called(legend: str, labels: dict[str, str]) -> str:
    if legend == "__auto":
        return ", ".join(value for key, value in labels.items() if key != "__name__")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip()


class Picture:
    """One page.

    Args:
        dashboard: as Grafana reads it.
        prometheus: that is asked.
        seconds: of the past that are shown.
    """

    def __init__(self, dashboard: Object, prometheus: Prometheus, seconds: float) -> None:
        self._dashboard = dashboard
        self._prometheus = prometheus
        self._seconds = seconds
        self._end_s = time.time()
        self._lines = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in self._panels)
        self._figure = Figure(figsize=(COLUMNS * COLUMN_IN, (self._lines + 1.5) * LINE_IN))

    @property
    def _panels(self) -> list[Object]:
        found: list[Object] = self._dashboard["panels"]
        return found

    def save(self, file: Path) -> None:
        with mpl.rc_context({"font.size": 8, "axes.titlesize": 9, "font.family": "DejaVu Sans"}):
            height = self._lines + 1.5
            self._figure.text(
                0.008, 1 - 0.9 / height, self._dashboard["title"], size=13, weight="bold"
            )
            for panel in self._panels:
                self._place(panel, height)
            self._figure.savefig(file, dpi=75, facecolor="white")

    def _place(self, panel: Object, height: float) -> None:
        place = panel["gridPos"]
        top = 1 - (place["y"] + 1.5) / height
        left, width = place["x"] / COLUMNS, place["w"] / COLUMNS
        if panel["type"] == "row":
            self._figure.text(0.008, top - 0.75 / height, panel["title"], size=10, color="#1f60c4")
            return
        tall = place["h"] / height
        drawn = {
            "timeseries": self._lines_of,
            "stat": self._number,
            "table": self._table,
            "heatmap": self._heatmap,
            "bargauge": self._bars,
        }[panel["type"]]
        kind = panel["type"]
        margins_in = {"stat": 0.15, "table": 0.15, "bargauge": 2.0}.get(kind, 0.65)
        below_in = {"stat": 0.1, "table": 0.1, "timeseries": 0.62}.get(kind, 0.45)
        wide_in, tall_in = COLUMNS * COLUMN_IN, height * LINE_IN
        box = (
            left + margins_in / wide_in,
            top - tall + below_in / tall_in,
            width - (margins_in + 0.25) / wide_in,
            tall - (below_in + 0.35) / tall_in,
        )
        axes = self._figure.add_axes(box)
        axes.set_title(panel["title"], loc="left")
        drawn(axes, panel)

    def _asked(self, expr: str) -> str:
        return filled(expr, interval_s=INTERVAL_S, range_s=round(self._seconds))

    def _instant(self, panel: Object) -> list[tuple[Object, list[Sample]]]:
        return [
            (each, self._prometheus.query(self._asked(each["expr"]))) for each in panel["targets"]
        ]

    def _ranges(self, panel: Object) -> list[tuple[str, Series]]:
        return [
            (called(each["legendFormat"], series.labels), series)
            for each in panel["targets"]
            for series in self._prometheus.query_range(
                self._asked(each["expr"]), self._end_s - self._seconds, self._end_s
            )
        ]

    def _lines_of(self, axes: Axes, panel: Object) -> None:
        unit = _unit(panel)
        found = self._ranges(panel)
        stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
        start = self._end_s - self._seconds
        if stacked:
            _stack(axes, found, start)
        else:
            for name, series in found:
                times = [at - start for at, _ in series.points]
                axes.plot(times, [value for _, value in series.points], linewidth=1.2, label=name)
        axes.set_xlim(0, self._seconds)
        axes.set_ylim(0, panel["fieldConfig"]["defaults"].get("max"))
        _finish(axes, unit)
        if found:
            axes.legend(
                loc="upper left",
                bbox_to_anchor=(0, -0.1),
                ncols=min(4, len(found)),
                fontsize=6.5,
                frameon=False,
                borderpad=0,
                columnspacing=1,
            )

    def _number(self, axes: Axes, panel: Object) -> None:
        axes.set_axis_off()
        texts = []
        for target, samples in self._instant(panel):
            for each in samples:
                name = called(target["legendFormat"], each.labels)
                if panel["options"]["textMode"] == "name":
                    texts.append((name, each.value))
                    continue
                label = f"{name}  " if len(samples) > 1 and name else ""
                texts.append((label + formatted(each.value, _unit(panel)), each.value))
        text = "\n".join(each for each, _ in texts) or "No data"
        colour = _colour(panel, texts[0][1]) if texts else "#999999"
        axes.text(0.5, 0.45, text, ha="center", va="center", size=17, color=colour)

    def _table(self, axes: Axes, panel: Object) -> None:
        axes.set_axis_off()
        names = panel["transformations"][-1]["options"]["renameByName"]
        units = {
            each["matcher"]["options"]: (
                each["properties"][0]["value"],
                {
                    key: word["text"]
                    for mapping in each["properties"][1]["value"]
                    for key, word in mapping["options"].items()
                },
            )
            for each in panel["fieldConfig"]["overrides"]
        }
        rows: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        single = len(panel["targets"]) == 1
        for target, samples in self._instant(panel):
            column = "Value" if single else f"Value #{target['refId']}"
            for each in samples:
                labels = {key: value for key, value in each.labels.items() if key != "__name__"}
                row = rows.setdefault(tuple(sorted(labels.items())), dict(labels))
                unit, words = units.get(names.get(column, ""), ("short", {}))
                plain = formatted(each.value, unit)
                row[column] = words.get(f"{each.value:.0f}", plain)
        cells = [[_short(row.get(key, "")) for key in names] for row in rows.values()]
        if not cells:
            axes.text(0.5, 0.5, "No data", ha="center", color="#999999")
            return
        texts = [list(names.values()), *cells]
        sizes = [max(len(row[column]) for row in texts) + 2 for column in range(len(names))]
        tall = min(1.0, len(texts) * 1.1 * LINE_IN / (panel["gridPos"]["h"] * LINE_IN - 0.5))
        made = axes.table(
            cellText=cells,
            colLabels=list(names.values()),
            colWidths=[each / sum(sizes) for each in sizes],
            cellLoc="left",
            bbox=Bbox.from_bounds(0, 1 - tall, 1, tall),
        )
        made.auto_set_font_size(False)
        made.set_fontsize(7.5)
        for cell in made.get_celld().values():
            cell.set_edgecolor("#dddddd")

    def _heatmap(self, axes: Axes, panel: Object) -> None:
        found = self._ranges(panel)
        found.sort(key=lambda each: float(each[1].labels["le"]))
        times = sorted({at for _, series in found for at, _ in series.points})
        below = [0.0] * len(times)
        counts = []
        for _, series in found:
            values = dict(series.points)
            cumulative = [values.get(at, 0.0) for at in times]
            counts.append([max(0.0, a - b) for a, b in zip(cumulative, below, strict=True)])
            below = cumulative
        axes.pcolormesh(
            [at - times[0] for at in times],
            range(len(found)),
            counts,
            cmap="Blues",
            shading="nearest",
        )
        bounds = [float(series.labels["le"]) for _, series in found]
        axes.set_yticks(
            range(0, len(bounds), 2),
            ["∞" if math.isinf(each) else formatted(each, _unit(panel)) for each in bounds[::2]],
        )
        axes.tick_params(labelsize=7)

    def _bars(self, axes: Axes, panel: Object) -> None:
        unit = _unit(panel)
        found = [
            (called(target["legendFormat"], each.labels), each.value)
            for target, samples in self._instant(panel)
            for each in samples
        ]
        if not found:
            axes.text(0.5, 0.5, "No data", ha="center", color="#999999")
            return
        names, values = zip(*reversed(found), strict=True)
        bars = axes.barh(range(len(names)), values, color="#73bf69", height=0.6)
        whole = panel["fieldConfig"]["defaults"].get("decimals") == 0
        texts = [formatted(round(each) if whole else each, unit) for each in values]
        axes.bar_label(bars, texts, size=7, padding=2)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(0, max(*values, 0) * 1.25 or 1)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: formatted(value, unit)))
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)


def _stack(axes: Axes, found: Sequence[tuple[str, Series]], start: float) -> None:
    times = sorted({at for _, series in found for at, _ in series.points})
    values: list[list[float]] = []
    for _, series in found:
        known = dict(series.points)
        values.append([_number_or_none(known.get(at)) for at in times])
    if times:
        axes.stackplot(
            [at - start for at in times], values, labels=[name for name, _ in found], alpha=0.75
        )


def _number_or_none(value: float | None) -> float:
    return 0.0 if value is None or math.isnan(value) else value


def _finish(axes: Axes, unit: str) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: formatted(value, unit)))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize=7)
    axes.grid(visible=True, color="#eeeeee")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0)


def _unit(panel: Object) -> str:
    return str(panel["fieldConfig"]["defaults"]["unit"])


def _short(text: str) -> str:
    return text if len(text) <= 42 else text[:18] + "…"


def _colour(panel: Object, value: float) -> str:
    steps: list[dict[str, Any]] = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    reached = [each for each in steps if each["value"] is None or value >= each["value"]]
    named = {"green": "#37872d", "orange": "#d9730d", "red": "#c4162a", "blue": "#1f60c4"}
    return named[reached[-1]["color"]]
