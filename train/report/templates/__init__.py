"""Templates, and how figures are written in them."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from train.assessment.schema import Figure
from train.report.svg import interval_bar

_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]|#"})


def render(template: str, about: dict[str, Any]) -> str:
    """Fill a template. Everything is escaped: names of classes and slices come from users."""
    environment = Environment(
        loader=PackageLoader("train.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "figure": _figure,
        "number": _number,
        "range": _range,
        "signed": _signed,
        "percent": _percent,
        "share": _share,
        "patients": _patients,
        "md": _markdown,
    }
    environment.globals["interval_bar"] = interval_bar
    return environment.get_template(template).render(about)


def _figure(figure: Figure) -> Markup:
    """A table's cell: the value, below it the interval or why there is none."""
    if figure.value is None:
        return Markup('<b>–</b><small class="free">{}</small>').format(figure.reason)
    css = "" if figure.reason is None else "free"
    return Markup('<b>{}</b><small class="{}">{}</small>').format(
        _number(figure), css, _range(figure)
    )


def _number(figure: Figure) -> str:
    return "–" if figure.value is None else f"{figure.value:.3f}"


def _range(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return figure.reason or ""
    return f"{figure.low:.3f} – {figure.high:.3f}"


def _signed(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def _percent(value: float | None) -> str:
    """One decimal."""
    return "–" if value is None else f"{value * 100:.1f} %"


def _share(value: float) -> str:
    """As few decimals as it has: of a setting."""
    return f"{value * 100:g} %"


def _patients(count: int) -> str:
    return "1 patient" if count == 1 else f"{count} patients"


def _markdown(value: object) -> Markup:
    """Text in a Markdown table: neither markup nor a line break survives."""
    # Not the other way round: the escapes of HTML have a # of their own.
    return escape(" ".join(str(value).split()).translate(_MARKDOWN))
