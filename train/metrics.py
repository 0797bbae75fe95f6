"""Figures of a classifier on labelled images."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from model.manifest import ClassMetrics, Metrics

Probabilities = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]

ECE_BINS = 15


def macro_f1(labels: Labels, predicted: Labels, classes: int) -> float:
    """Unweighted mean of the classes' F1; a class that is never predicted counts as 0."""
    return float(
        f1_score(labels, predicted, labels=range(classes), average="macro", zero_division=0.0)
    )


def expected_calibration_error(
    probabilities: Probabilities, labels: Labels, bins: int = ECE_BINS
) -> float:
    """Mean gap between confidence and accuracy over bins of equal width.

    Source: https://arxiv.org/abs/1706.04599, section 2.
    """
    rows = reliability(probabilities, labels, bins)
    return float(sum(share * abs(accuracy - confidence) for confidence, accuracy, share in rows))


def reliability(
    probabilities: Probabilities, labels: Labels, bins: int = ECE_BINS
) -> list[tuple[float, float, float]]:
    """Mean confidence, accuracy and share of the images, of each bin that has any."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for current in range(bins):
        inside = number == current
        if inside.any():
            rows.append(
                (
                    float(confidence[inside].mean()),
                    float(correct[inside].mean()),
                    float(inside.mean()),
                )
            )
    return rows


def evaluate_probabilities(
    probabilities: Probabilities, uncalibrated: Probabilities, labels: Labels, keys: list[str]
) -> Metrics:
    """All figures of the manifest.

    Args:
        probabilities: calibrated, [N, K].
        uncalibrated: the same at temperature 1, [N, K].
        labels: true classes, [N].
        keys: the K class keys.
    """
    count = len(keys)
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=range(count), zero_division=0.0
    )
    return Metrics(
        accuracy=float(accuracy_score(labels, predicted)),
        macro_f1=macro_f1(labels, predicted, count),
        ece=expected_calibration_error(probabilities, labels),
        ece_uncalibrated=expected_calibration_error(uncalibrated, labels),
        per_class={
            key: ClassMetrics(
                precision=float(precision[k]),
                recall=float(recall[k]),
                f1=float(f1[k]),
                auroc=auroc(labels == k, probabilities[:, k]),
                support=int(support[k]),
            )
            for k, key in enumerate(keys)
        },
        confusion=confusion_matrix(labels, predicted, labels=range(count)).tolist(),
        images=len(labels),
    )


def auroc(positive: npt.NDArray[np.bool_], score: Probabilities) -> float | None:
    """Area under the ROC curve of one class against the rest; None where there is only one."""
    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, score))
