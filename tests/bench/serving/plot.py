"""Throughput against latency at each number of users, ours and the rivals'."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tests.bench.serving.results import Row
from tests.bench.serving.sections.throughput import IDEAL, LARGE_JPEG, OURS

mpl.use("Agg")

_OURS_COLOUR, _IDEAL_COLOUR = "#c53030", "#4a5568"
_THEIR_COLOURS = ("#2b6cb0", "#2f855a", "#b7791f", "#6b46c1", "#319795", "#718096")
_HEADROOM = 1.12
# Of the axes' height: names closer together than this would overlap.
_NAME_GAP = 0.055


def draw(rows: Sequence[Row], file: Path) -> bool:
    """Draw medians over the rounds; of the section with all rivals, if it has been measured.

    Returns:
        Whether there was anything to draw.
    """
    closed = [row for row in rows if row.image == LARGE_JPEG and row.rate is None]
    section = "peers" if any(row.section == "peers" for row in closed) else "throughput"
    shown = [row for row in closed if row.section == section]
    if not shown:
        return False
    figure = Figure(figsize=(8.5, 4.8), dpi=120, layout="constrained")
    axes = figure.subplots()
    top = _HEADROOM * max(row.requests_per_second for row in shown)
    axes.set_ylim(0, top)
    ends: dict[str, tuple[float, float, str]] = {}
    theirs = sorted({row.server for row in shown} - {OURS, IDEAL})
    for name, colour in zip((OURS, *theirs), (_OURS_COLOUR, *_THEIR_COLOURS), strict=False):
        x, y = _line(axes, [row for row in shown if row.server == name], colour, name == OURS)
        ends[name] = (x, y, colour)
    _ideal(axes, [row.requests_per_second for row in shown if row.server == IDEAL])
    _names(axes, ends, _NAME_GAP * top)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("median latency in ms")
    axes.set_ylabel("images per second")
    axes.grid(color="#e2e8f0")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    users = ", ".join(str(each) for each in sorted({row.concurrency for row in shown}))
    title = f"{LARGE_JPEG}s, the same FP32 graph in ONNX Runtime; from left to right {users} users"
    axes.set_title(title, loc="left", fontsize=11)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    return True


def _line(axes: Axes, rows: Sequence[Row], colour: str, bold: bool) -> tuple[float, float]:
    """One server; returns where its line ends."""
    xs, ys = [], []
    for users in sorted({row.concurrency for row in rows}):
        alike = [row for row in rows if row.concurrency == users and row.p50_ms is not None]
        if alike:
            xs.append(median(row.p50_ms or 0.0 for row in alike))
            ys.append(median(row.requests_per_second for row in alike))
    axes.plot(xs, ys, "o-", color=colour, linewidth=2.5 if bold else 1.5, markersize=5, zorder=3)
    return (xs[-1], ys[-1]) if xs else (1.0, 0.0)


def _ideal(axes: Axes, speeds: Sequence[float]) -> None:
    if speeds:
        axes.axhline(median(speeds), color=_IDEAL_COLOUR, linestyle="--", linewidth=1)
        axes.annotate(
            "decode and infer alone, without a server",
            (0.01, median(speeds)),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            color=_IDEAL_COLOUR,
            fontsize=9,
        )


def _names(axes: Axes, ends: Mapping[str, tuple[float, float, str]], gap: float) -> None:
    """Write each server's name beside the end of its line, and none over another."""
    right = max(x for x, _, _ in ends.values())
    lowest = -gap
    for name, (_, y, colour) in sorted(ends.items(), key=lambda item: item[1][1]):
        lowest = max(y, lowest + gap)
        axes.annotate(
            name,
            (right, lowest),
            xytext=(12, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=10,
            annotation_clip=False,
        )
