"""What the report draws."""

from collections.abc import Sequence

import numpy as np

from train.assessment.curves import HISTOGRAM_BINS
from train.assessment.schema import Assessment, Bin
from train.report.svg import SERIES, Chart, ticks
from train.state import Epoch

_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def series(number: int) -> str:
    """The style of the n-th class's lines."""
    return f"series s{number % SERIES}"


def roc(assessment: Assessment) -> Chart:
    """True over false positive rate of each class."""
    chart = _of_shares("ROC curve of each class", "false positive rate", "true positive rate")
    chart.line([(0.0, 0.0), (1.0, 1.0)], "guide")
    for number, each in enumerate(assessment.classes):
        if (curve := assessment.roc.get(each.key)) is not None:
            chart.line(list(zip(curve.x, curve.y, strict=True)), series(number))
    return chart


def precision_recall(assessment: Assessment) -> Chart:
    """Precision over recall of each class."""
    chart = _of_shares("Precision over recall of each class", "recall", "precision")
    for number, each in enumerate(assessment.classes):
        if (curve := assessment.precision_recall.get(each.key)) is not None:
            chart.steps(list(zip(curve.x, curve.y, strict=True)), series(number))
    return chart


def reliability(assessment: Assessment) -> Chart:
    """Share correct over confidence, before and after temperature scaling."""
    chart = _of_shares(
        "Share of correct answers over confidence, before and after temperature scaling",
        "confidence",
        "share correct",
    )
    chart.line([(0.0, 0.0), (1.0, 1.0)], "guide")
    for bins, css in (
        (assessment.reliability_uncalibrated, "before"),
        (assessment.reliability, "after"),
    ):
        for each in bins:
            chart.dot(
                each.confidence, each.accuracy, _radius(each, assessment.images), css, _told(each)
            )
    return chart


def confidence(assessment: Assessment) -> Chart:
    """How many images are answered how surely, and how many of those wrongly."""
    correct = assessment.confidence_histogram["correct"]
    mistaken = assessment.confidence_histogram["mistaken"]
    highest = max(c + m for c, m in zip(correct, mistaken, strict=True))
    least = 1.0 / len(assessment.classes)
    first = int(least * HISTOGRAM_BINS + 1e-9)
    shown = np.arange(first, HISTOGRAM_BINS + 1) / HISTOGRAM_BINS
    every = max(1, round(len(shown) / 6))
    x_ticks = sorted({float(edge) for edge in [*shown[::-1][::every], shown[0]]})
    if len(x_ticks) > 2 and x_ticks[1] - x_ticks[0] < every / HISTOGRAM_BINS - 1e-9:
        del x_ticks[1]
    chart = Chart(
        "Images by confidence, correct and mistaken",
        "confidence",
        "images",
        x_ticks,
        ticks(highest, whole=True),
    )
    for number in range(first, HISTOGRAM_BINS):
        sides = (number / HISTOGRAM_BINS, (number + 1) / HISTOGRAM_BINS)
        right, wrong = correct[number], mistaken[number]
        told = f"{sides[0]:.0%} to {sides[1]:.0%}: {right} correct, {wrong} mistaken"
        if wrong:
            chart.bar(sides, (0, wrong), "wrong", told)
        if right:
            chart.bar(sides, (wrong, wrong + right), "right", told)
    chart.upright(
        max(assessment.indeterminate_below, shown[0]),
        "threshold",
        f"{assessment.indeterminate_below:.0%}: below, Indeterminate",
    )
    return chart


def losses(history: list[Epoch]) -> Chart:
    """Loss over epochs."""
    # The first epochs may overshoot by far, and would flatten all that follows.
    highest = 1.25 * max(epoch.train_loss for epoch in history)
    chart = _over_epochs("Loss by epoch", "loss", history, ticks(highest))
    top = ticks(highest)[-1]
    chart.line([(e.epoch, min(top, e.train_loss)) for e in history], "training")
    chart.line([(e.epoch, min(top, e.val_loss)) for e in history], "validation")
    return chart


def scores(history: list[Epoch], best: int) -> Chart:
    """Macro-F1 on validation over epochs, and the epoch that was kept."""
    chart = _over_epochs("Macro-F1 on validation by epoch", "macro-F1", history, _SHARES)
    chart.line([(e.epoch, e.val_macro_f1) for e in history], "validation")
    for epoch in history:
        if epoch.epoch == best:
            told = f"epoch {best}: {epoch.val_macro_f1:.3f}, kept"
            chart.dot(best, epoch.val_macro_f1, 5.0, "kept", told)
    return chart


def _of_shares(title: str, x: str, y: str) -> Chart:
    return Chart(title, x, y, _SHARES, _SHARES)


def _over_epochs(title: str, y: str, history: list[Epoch], y_ticks: Sequence[float]) -> Chart:
    last = max(epoch.epoch for epoch in history)
    return Chart(title, "epoch", y, ticks(last, whole=True), y_ticks)


def _radius(each: Bin, images: int) -> float:
    # The area tells how many.
    return float(3.0 + 11.0 * (each.images / images) ** 0.5)


def _told(each: Bin) -> str:
    return (
        f"confidence {each.low:.0%} to {each.high:.0%}: {each.images} images, "
        f"{each.accuracy:.0%} correct at a mean confidence of {each.confidence:.0%}"
    )
