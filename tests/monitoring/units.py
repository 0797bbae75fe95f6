"""Values as Grafana writes them."""

import math
from datetime import UTC, datetime

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def formatted(value: float, unit: str) -> str:
    """A value in its unit, as short as Grafana writes it."""
    if math.isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "percent":
        return f"{value:.3g} %"
    if unit == "s":
        return _duration(value)
    if unit == "dateTimeAsIso":
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    if unit == "sci":
        return f"{value:.1e}"
    if unit.startswith("suffix:"):
        number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
        return number + unit.removeprefix("suffix:")
    suffix = {"reqps": "req/s", "bytes": "B"}.get(unit, "")
    for size, prefix in _PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{suffix}"
    return f"{value:.3g} {suffix}".strip()


def _duration(seconds: float) -> str:
    size = abs(seconds)
    for limit, divisor, name in (
        (0.001, 1e-6, "µs"),
        (1, 1e-3, "ms"),
        (120, 1, "s"),
        (7200, 60, "min"),
    ):
        if size < limit:
            return f"{seconds / divisor:.3g} {name}"
    return f"{seconds / 3600:.3g} h" if size < 172800 else f"{seconds / 86400:.3g} days"
