"""A sanity check: how much do brightness and contrast alone give away?

A network that does little better than this has learned the exposure, not the anatomy.
"""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from train.metrics import macro_f1

_BINS = 16


def intensity_baseline(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    train: npt.NDArray[np.int64],
    test: npt.NDArray[np.int64],
) -> float:
    """Macro-F1 on test of a logistic regression on global intensity statistics.

    Args:
        images: uint8 [N, H, W, 3].
        labels: [N].
        train: positions to learn from.
        test: positions to judge on.
    """
    features = np.stack([_statistics(image) for image in images])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    classifier.fit(features[train], labels[train])
    return macro_f1(labels[test], classifier.predict(features[test]), int(labels.max()) + 1)


def _statistics(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    grey = image.mean(axis=2)
    histogram = np.histogram(grey, bins=_BINS, range=(0.0, 256.0))[0] / grey.size
    moments = [grey.mean(), grey.std(), *np.percentile(grey, [1, 5, 25, 50, 75, 95, 99])]
    return np.concatenate([moments, histogram])
