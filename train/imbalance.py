"""Classes of unequal size: how many images each has for training, and what it weighs."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.manifest import ClassInfo
from train.errors import ConfigError, DataError
from train.recipe import LoopConfig

_BETA = 0.999

Labels = npt.NDArray[np.int64]


def class_counts(labels: Labels, classes: list[ClassInfo]) -> npt.NDArray[np.int64]:
    """Training images of each class, int64 [K].

    Raises:
        DataError: a class has none; names it.
    """
    counts = np.bincount(labels, minlength=len(classes))
    empty = [info.key for info, count in zip(classes, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"train has no image of class {', '.join(empty)}; "
            "add some, or take it out of data.classes"
        )
    return counts


def check_weights(loop: LoopConfig, classes: list[ClassInfo]) -> None:
    """Refuse given weights that are not those of the classes.

    Raises:
        ConfigError: names the weights and the classes.
    """
    given, keys = loop.class_weights, [info.key for info in classes]
    if isinstance(given, dict) and set(given) != set(keys):
        raise ConfigError(
            f"loop.class_weights has weights of {', '.join(sorted(given)) or 'nothing'}; "
            f"data.classes are {', '.join(keys)}"
        )


def class_weights(
    loop: LoopConfig, counts: npt.NDArray[np.int64], classes: list[ClassInfo]
) -> Tensor | None:
    """Weight of each class in the loss, float [K]; None where they are equal.

    Balanced and effective weights have a mean of 1 over the training images.
    The effective number of images is that of https://arxiv.org/abs/1901.05555.
    """
    wanted = loop.class_weights
    if wanted == "none":
        return None
    if isinstance(wanted, dict):
        return torch.tensor([wanted[info.key] for info in classes])
    inverse: npt.NDArray[np.floating] = 1.0 / counts
    if wanted == "effective":
        beta = _BETA if loop.effective_beta is None else loop.effective_beta
        inverse = (1.0 - beta) / (1.0 - beta**counts)
    return torch.from_numpy(inverse * counts.sum() / (inverse * counts).sum()).float()


def describe_weights(weights: Tensor, classes: list[ClassInfo]) -> str:
    """One line for the console."""
    pairs = zip(classes, weights.tolist(), strict=True)
    return "class weights: " + ", ".join(f"{info.key} {weight:.3g}" for info, weight in pairs)


def balanced_order(labels: Labels, generator: torch.Generator) -> Tensor:
    """As many positions as there are labels, each class as likely as the others, int64 [N]."""
    share = torch.from_numpy(1.0 / np.bincount(labels))[torch.from_numpy(labels)]
    return torch.multinomial(share, len(labels), replacement=True, generator=generator)
