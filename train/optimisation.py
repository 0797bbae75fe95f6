"""The optimiser, what it decays, and the learning rate over time."""

import math

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from train.recipe import LoopConfig


def make_optimiser(network: nn.Module, loop: LoopConfig) -> Optimizer:
    """The optimiser over all of a network's parameters."""
    return AdamW(_parameter_groups(network, loop), lr=loop.learning_rate)


def make_schedule(optimiser: Optimizer, loop: LoopConfig, steps_per_epoch: int) -> LambdaLR:
    """The learning rate at each step of the optimiser."""
    return LambdaLR(optimiser, lambda step: learning_rate_factor(step, steps_per_epoch, loop))


def learning_rate_factor(step: int, steps_per_epoch: int, loop: LoopConfig) -> float:
    """Linear warm-up, then a cosine to zero, https://arxiv.org/abs/1608.03983."""
    warmup = loop.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    span = max(1.0, loop.epochs * steps_per_epoch - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warmup) / span)))


def _parameter_groups(network: nn.Module, loop: LoopConfig) -> list[dict[str, object]]:
    # Biases and normalisation scales are not decayed: pulling them to zero helps nothing.
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": loop.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
