"""What training lowers."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from train.recipe import LoopConfig

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(loop: LoopConfig) -> Loss:
    """The mean loss of a batch from logits [B, K] and labels [B]."""

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, label_smoothing=loop.label_smoothing)

    return loss


def negative_log_likelihood(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> float:
    """Mean over N images, from logits [N, K] and labels [N]."""
    return float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))
