"""Charts as SVG that takes its colours from the page, so that they follow light, dark and print."""

import itertools
import math
from collections.abc import Sequence

from markupsafe import Markup

from train.assessment.schema import Figure

Points = Sequence[tuple[float, float]]

# Series beyond these repeat the colours; the dashes differ already.
SERIES = 8
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 10.0, 40.0


class Chart:
    """A frame with two axes; y grows upwards.

    Args:
        title: what a screen reader says; the page shows its own headline.
        x, y: the labels of the axes.
        x_ticks, y_ticks: ascending; the first and the last are the ends of the axes.
        percent: whether the ticks are shares.
        width_px, height_px: of the view box; the page scales it.
    """

    def __init__(
        self,
        title: str,
        x: str,
        y: str,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        *,
        percent: bool = False,
        width_px: int = 420,
        height_px: int = 320,
    ) -> None:
        self._title, self._size = title, (width_px, height_px)
        self._x_range, self._y_range = (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])
        self._parts: list[Markup] = []
        self._axes(x, y, x_ticks, y_ticks, percent)

    def __html__(self) -> str:
        width_px, height_px = self._size
        return Markup(
            '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
        ).format(width_px, height_px, self._title, Markup("").join(self._parts))

    def line(self, points: Points, css: str) -> None:
        """Join points by straight lines."""
        places = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)
        self._parts.append(Markup('<polyline class="{}" points="{}"/>').format(css, places))

    def steps(self, points: Points, css: str) -> None:
        """Join points by steps: up or down first, then across."""
        corners = [points[0]]
        for (x, _), (further, y) in itertools.pairwise(points):
            corners += [(x, y), (further, y)]
        self.line(corners, css)

    def dot(self, x: float, y: float, radius_px: float, css: str, told: str) -> None:
        """A circle, and what it stands for when it is pointed at."""
        self._parts.append(
            Markup('<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
                css, f"{self._x(x):.1f}", f"{self._y(y):.1f}", f"{radius_px:.1f}", told
            )
        )

    def bar(self, x: tuple[float, float], y: tuple[float, float], css: str, told: str) -> None:
        """A rectangle between two values of x and two of y."""
        (left, right), (low, high) = x, y
        self._parts.append(
            Markup(
                '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
            ).format(
                css,
                f"{self._x(left) + 0.75:.1f}",
                f"{self._y(high):.1f}",
                f"{max(0.5, self._x(right) - self._x(left) - 1.5):.1f}",
                f"{max(0.0, self._y(low) - self._y(high)):.1f}",
                told,
            )
        )

    def upright(self, x: float, css: str, told: str) -> None:
        """A vertical line from end to end with a few words at its head."""
        low, high = self._y_range
        self.line([(x, low), (x, high)], css)
        right = self._x(x) > self._size[0] * 0.6
        self._text(
            self._x(x) + (-5 if right else 5), _TOP + 11, told, "end" if right else "start", "note"
        )

    def _axes(
        self, x: str, y: str, x_ticks: Sequence[float], y_ticks: Sequence[float], percent: bool
    ) -> None:
        (left, right), (low, high) = self._x_range, self._y_range
        for value in y_ticks:
            self.line([(left, value), (right, value)], "grid")
            self._text(_LEFT - 6, self._y(value) + 4, _tick(value, percent), "end", "tick")
        for value in x_ticks:
            self.line([(value, low), (value, high)], "grid")
            place = self._size[1] - _BOTTOM + 16
            self._text(self._x(value), place, _tick(value, percent), "middle", "tick")
        middle = (self._x(left) + self._x(right)) / 2
        self._text(middle, self._size[1] - 6, x, "middle", "axis")
        height = (self._y(low) + self._y(high)) / 2
        self._parts.append(
            Markup(
                '<text class="axis" text-anchor="middle" transform="translate(12 {}) rotate(-90)">'
                "{}</text>"
            ).format(f"{height:.1f}", y)
        )

    def _text(self, x: float, y: float, text: str, anchor: str, css: str) -> None:
        self._parts.append(
            Markup('<text class="{}" text-anchor="{}" x="{}" y="{}">{}</text>').format(
                css, anchor, f"{x:.1f}", f"{y:.1f}", text
            )
        )

    def _x(self, value: float) -> float:
        low, high = self._x_range
        return _LEFT + (value - low) / (high - low) * (self._size[0] - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        low, high = self._y_range
        return (
            self._size[1]
            - _BOTTOM
            - (value - low) / (high - low) * (self._size[1] - _TOP - _BOTTOM)
        )


def ticks(highest: float, *, whole: bool = False, most: int = 5) -> list[float]:
    """Round numbers from 0 to at least the highest, whole ones where counts are shown."""
    if highest <= 0:
        return [0.0, 1.0]
    magnitude = 10.0 ** math.floor(math.log10(highest / most))
    if whole:
        magnitude = max(1.0, magnitude)
    factors = (1.0, 2.0, 5.0, 10.0) if whole else (1.0, 2.0, 2.5, 5.0, 10.0)
    step = next(
        magnitude * factor
        for factor in factors
        if highest <= magnitude * factor * most * (1 + 1e-9)
    )
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def interval_bar(figure: Figure, whole: float | None, start: float, css: str) -> Markup:
    """A share with its interval on a line up to 1, beside that of the whole; for a table's cell.

    The table has the numbers, so a screen reader skips it.
    """

    def place(share: float) -> str:
        return f"{100.0 * (share - start) / (1.0 - start):.2f}"

    value, low, high = figure.value, figure.low, figure.high
    parts = [Markup('<line class="track" x1="0" x2="100" y1="8" y2="8"/>')]
    if whole is not None:
        parts.append(
            Markup('<line class="whole" x1="{0}" x2="{0}" y1="0" y2="16"/>').format(place(whole))
        )
    if low is not None and high is not None:
        parts.append(
            Markup('<line class="reach {}" x1="{}" x2="{}" y1="8" y2="8"/>').format(
                css, place(low), place(high)
            )
        )
    if value is not None:
        parts.append(
            # A line of no length with round ends is a dot, however the drawing is stretched.
            Markup('<line class="value {0}" x1="{1}" x2="{1}" y1="8" y2="8"/>').format(
                css, place(value)
            )
        )
    return Markup(
        '<svg class="interval" viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true">'
        "{}</svg>"
    ).format(Markup("").join(parts))


def start_of_bars(figures: Sequence[Figure]) -> float:
    """Where the line of :func:`interval_bar` begins: the tenth below everything on it."""
    shown = [v for each in figures for v in (each.value, each.low) if v is not None]
    return math.floor(min([0.9, *shown]) * 10.0) / 10.0


def _tick(value: float, percent: bool) -> str:
    return f"{value:.0%}" if percent else f"{value:g}"
