"""The figures on validation after each epoch, one of which says which epoch is the best."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.metrics import accuracy_score, recall_score

from train.losses import negative_log_likelihood
from train.metrics import auroc, macro_f1


class Figures(TypedDict):
    """What :class:`train.state.Epoch` has of them."""

    val_loss: float
    val_macro_f1: float
    val_balanced_accuracy: float
    val_accuracy: float
    val_auroc: float | None


def validation_figures(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> Figures:
    """The figures of an epoch.

    Args:
        logits: [N, K].
        labels: true classes, [N].
    """
    classes = logits.shape[1]
    predicted = logits.argmax(1)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    areas = [auroc(labels == k, probabilities[:, k]) for k in range(classes)]
    known = [area for area in areas if area is not None]
    return {
        "val_loss": negative_log_likelihood(logits, labels),
        "val_macro_f1": macro_f1(labels, predicted, classes),
        "val_balanced_accuracy": float(
            recall_score(
                labels, predicted, labels=range(classes), average="macro", zero_division=0.0
            )
        ),
        "val_accuracy": float(accuracy_score(labels, predicted)),
        "val_auroc": sum(known) / len(known) if known else None,
    }
