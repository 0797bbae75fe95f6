"""A comparison as lines of text."""

from train.assessment.schema import Figure
from train.comparison.schema import Comparison, Contestant, Difference
from train.report.labels import LABELS

_MARKS = {"better": " *", "worse": " *", "different": " *"}


def describe(comparison: Comparison) -> str:
    """A table of the runs side by side, then what follows from it."""
    runs = comparison.runs
    rows = [["", *(f"{run.letter}: {run.where}" for run in runs)]]
    rows.append(["architecture", *(run.architecture for run in runs)])
    rows.append(["test images", *(f"{run.images} of {run.patients} patients" for run in runs)])
    for name, label in LABELS.items():
        rows.append([label, *(getattr(run.overall, name).rounded() for run in runs)])
        if any(run.paired for run in runs):
            rows.append(["  less A's", *(_difference(run, name) for run in runs)])
    keys = list(dict.fromkeys(key for run in runs for key in run.f1))
    absent = Figure(value=None, reason="no such class")
    rows += [[f"F1 {key}", *(run.f1.get(key, absent).rounded() for run in runs)] for key in keys]
    for key, values in comparison.config.items():
        rows.append([key, *(_short(value) for value in values)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += ["", "* more than noise", ""]
    for run in runs[1:]:
        lines.append(run.verdict)
        lines += [f"  {line}" for line in remarks(run)]
    return "\n".join(lines)


def remarks(run: Contestant) -> list[str]:
    """What else there is to know about a run beside the first."""
    lines = []
    if run.paired is not None:
        test = run.paired.accuracy_test
        lines.append(
            f"correct where A is wrong: {test.only_other_right} images; wrong where A is correct: "
            f"{test.only_first_right}; McNemar's exact test by {test.unit}: p = {test.p_value:.2g}"
        )
        if not run.paired.same_test_images:
            lines.append("the test splits differ; differences are on the images that both have")
        if run.paired.other_labels:
            lines.append(f"{run.paired.other_labels} images with another label are left out")
    if run.data is None:
        lines.append("whether the data is the same is unknown: a list of files is missing")
    else:
        changes = [f"{count} {kind}" for kind, count in run.data if count]
        lines.append(f"data: {', '.join(changes) or 'the same'}")
    return lines


def _difference(run: Contestant, name: str) -> str:
    found: Difference | None = None if run.paired is None else run.paired.overall[name]
    if found is None or found.difference.value is None:
        return ""
    value, low, high = found.difference.value, found.difference.low, found.difference.high
    interval = "" if low is None else f" ({low:+.3f} to {high:+.3f})"
    return f"{value:+.3f}{interval}{_MARKS.get(found.verdict, '')}"


def _short(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
