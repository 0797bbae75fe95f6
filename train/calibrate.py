"""Temperature scaling, https://arxiv.org/abs/1706.04599, section 4.2."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

# Beyond these the network is either constant or perfect on the validation images, and neither
# says anything about new ones.
LOWEST, HIGHEST = 0.1, 10.0


def fit_temperature(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> float:
    """Temperature with the least negative log-likelihood on validation images.

    Args:
        logits: [N, K].
        labels: true classes, [N].
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scaled[rows, labels].mean())

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(found.x))


def calibrated(logits: npt.NDArray[np.floating], temperature: float) -> npt.NDArray[np.floating]:
    """Probabilities at a temperature, [N, K]."""
    probabilities: npt.NDArray[np.floating] = softmax(logits / temperature, axis=1)
    return probabilities
