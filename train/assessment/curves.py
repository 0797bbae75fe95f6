"""What the report draws: ROC, precision over recall, reliability, confidence."""

import numpy as np

from train.assessment.measures import ECE_BINS, bins_of_equal_width
from train.assessment.schema import Bin, Curve
from train.assessment.scored import Bools, Floats, Scored

_MOST_POINTS = 200
HISTOGRAM_BINS = 20


def roc_and_precision_recall(positive: Bools, score: Floats) -> tuple[Curve, Curve] | None:
    """Both curves of one class against the rest; None where only one side occurs.

    Args:
        positive: whether each image is of the class, [N].
        score: its probability, [N].
    """
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-score, kind="stable")
    # Images of the same score are above or below a threshold together.
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    true = np.cumsum(positive[order])[ends]
    false = ends + 1 - true
    recall, fall_out = true / positive.sum(), false / (~positive).sum()
    precision = true / (true + false)
    return (
        _thinned(np.append(0.0, fall_out), np.append(0.0, recall)),
        _thinned(np.append(0.0, recall), np.append(precision[0], precision)),
    )


def _thinned(x: Floats, y: Floats) -> Curve:
    """At most so many points as can be seen, the ends among them."""
    chosen = np.unique(np.linspace(0, len(x) - 1, _MOST_POINTS).round().astype(int))
    return Curve(x=x[chosen].round(5).tolist(), y=y[chosen].round(5).tolist())


def reliability_bins(scored: Scored) -> list[Bin]:
    """Confidence and accuracy in each bin of equal width that has images."""
    number = bins_of_equal_width(scored.confidence)
    return [
        Bin(
            low=current / ECE_BINS,
            high=(current + 1) / ECE_BINS,
            images=int(inside.sum()),
            confidence=float(scored.confidence[inside].mean()),
            accuracy=float(scored.correct[inside].mean()),
        )
        for current in range(ECE_BINS)
        if (inside := number == current).any()
    ]


def confidence_histogram(scored: Scored) -> dict[str, list[int]]:
    """Images by confidence, correct and mistaken."""
    edges = np.linspace(0.0, 1.0, HISTOGRAM_BINS + 1)
    return {
        name: np.histogram(scored.confidence[chosen], edges)[0].tolist()
        for name, chosen in (("correct", scored.correct), ("mistaken", ~scored.correct))
    }
