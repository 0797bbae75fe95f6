"""A comparison of runs as a page."""

from train.comparison.schema import Comparison
from train.comparison.table import remarks
from train.report.labels import LABELS
from train.report.svg import start_of_bars
from train.report.templates import render


def draw_comparison(comparison: Comparison) -> str:
    """HTML that needs nothing else."""
    runs = comparison.runs
    return render(
        "compare.html.j2",
        {
            "c": comparison,
            "runs": runs,
            "labels": LABELS,
            "keys": list(dict.fromkeys(key for run in runs for key in run.f1)),
            "remarks": remarks,
            "start": start_of_bars([run.overall.macro_f1 for run in runs]),
        },
    )
