"""Figures of a classifier as the manifest has them, and macro-F1, by which epochs and models are
chosen."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

from model.manifest import ClassMetrics, Metrics
from train.assessment.measures import Measures
from train.assessment.scored import Scored

Probabilities = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]


def macro_f1(labels: Labels, predicted: Labels, classes: int) -> float:
    """Unweighted mean of the classes' F1; a class that is never predicted counts as 0."""
    return float(
        f1_score(labels, predicted, labels=range(classes), average="macro", zero_division=0.0)
    )


def evaluate_probabilities(
    probabilities: Probabilities, uncalibrated: Probabilities, labels: Labels, keys: list[str]
) -> Metrics:
    """All figures of the manifest; of those that are not defined, all but AUROC are 0.

    Args:
        probabilities: calibrated, [N, K].
        uncalibrated: the same at temperature 1, [N, K].
        labels: true classes, [N].
        keys: the K class keys.
    """
    scored, before = Scored.of(labels, probabilities), Scored.of(labels, uncalibrated)
    once = np.ones((1, len(labels)))
    found = {name: values[0] for name, values in Measures(scored, 0.0, ())(once).items()}
    support = np.bincount(labels, minlength=len(keys))
    return Metrics(
        accuracy=float(found["accuracy"]),
        macro_f1=macro_f1(labels, scored.predicted, len(keys)),
        ece=float(found["ece"]),
        ece_uncalibrated=float(Measures(before, 0.0, ())(once)["ece"][0]),
        per_class={
            key: ClassMetrics(
                precision=float(np.nan_to_num(found["precision"][k])),
                recall=float(np.nan_to_num(found["recall"][k])),
                f1=float(np.nan_to_num(found["f1"][k])),
                auroc=auroc(labels == k, probabilities[:, k]),
                support=int(support[k]),
            )
            for k, key in enumerate(keys)
        },
        confusion=confusion_matrix(labels, scored.predicted, labels=range(len(keys))).tolist(),
        images=len(labels),
    )


def auroc(positive: npt.NDArray[np.bool_], score: Probabilities) -> float | None:
    """Area under the ROC curve of one class against the rest; None where there is only one."""
    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, score))
