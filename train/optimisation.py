"""The optimiser, and what it decays."""

from typing import Any

from torch.nn import Parameter
from torch.optim import SGD, AdamW, Optimizer

from model.architectures import Classifier
from train.freezing import layer_scales
from train.recipe import LoopConfig

_MOMENTUM = 0.9


def make_optimiser(network: Classifier, loop: LoopConfig) -> Optimizer:
    """The optimiser over all of a network's parameters."""
    groups = _parameter_groups(network, loop)
    if loop.optimiser == "adamw":
        return AdamW(groups, lr=loop.learning_rate)
    momentum = _MOMENTUM if loop.momentum is None else loop.momentum
    nesterov = momentum > 0.0 if loop.nesterov is None else loop.nesterov
    return SGD(groups, lr=loop.learning_rate, momentum=momentum, nesterov=nesterov)


def _parameter_groups(network: Classifier, loop: LoopConfig) -> list[dict[str, Any]]:
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for parameter, scale in layer_scales(network, loop.layer_decay):
        # Biases and normalisation scales are not decayed: pulling them to zero helps nothing.
        decay = loop.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((loop.learning_rate * scale, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
