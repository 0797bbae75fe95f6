"""What training lowers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from train.recipe import LoopConfig

_FOCAL_GAMMA = 2.0
_LEAST_MISSING = 1e-7


@dataclass(frozen=True)
class Loss:
    """Cross-entropy, or the focal loss, https://arxiv.org/abs/1708.02002.

    It is a sum over images; divided by :meth:`size` it is a mean. A step over several batches, or
    over the shares of several processes, divides each sum by the size of all, and has the gradient
    of one big batch, whatever the weights of its classes.

    Attributes:
        weights: of the K classes, float [K]; None where they are equal.
        gamma: how far the focal loss goes; 0 is the cross-entropy.
        label_smoothing: share of each target that is spread over all classes.
    """

    weights: Tensor | None = None
    gamma: float = 0.0
    label_smoothing: float = 0.0

    @classmethod
    def of(cls, loop: LoopConfig, weights: Tensor | None = None) -> "Loss":
        gamma = (loop.focal_gamma or _FOCAL_GAMMA) if loop.loss == "focal" else 0.0
        return cls(weights, gamma, loop.label_smoothing)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum over a batch.

        Args:
            logits: [B, K].
            target: labels, int64 [B], or shares of the classes, float [B, K].
        """
        logits = logits.float()
        weights = None if self.weights is None else self.weights.to(logits.device)
        if self.gamma == 0.0:
            return F.cross_entropy(
                logits,
                target,
                weight=weights,
                label_smoothing=self.label_smoothing,
                reduction="sum",
            )
        classes = logits.shape[1]
        shares = F.one_hot(target, classes).float() if target.ndim == 1 else target
        shares = shares * (1.0 - self.label_smoothing) + self.label_smoothing / classes
        log = F.log_softmax(logits, dim=1)
        # Never quite 0, where the power has no finite slope.
        missing = -torch.expm1(log).clamp_max(-_LEAST_MISSING)
        terms = -shares * missing**self.gamma * log
        return (terms if weights is None else terms * weights).sum()

    def size(self, labels: Tensor) -> float:
        """How much images with these labels count: their number, or the sum of their weights.

        Mixing the images of a batch does not change it.
        """
        if self.weights is None:
            return float(len(labels))
        return float(self.weights[labels].sum())


def negative_log_likelihood(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> float:
    """Mean over N images, from logits [N, K] and labels [N]."""
    return float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))
