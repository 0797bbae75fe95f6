"""The learning rate over time."""

import math
from collections.abc import Sequence

from torch.optim import Optimizer

from train.recipe import LoopConfig
from train.state import Epoch

DECAY_EPOCHS = 10
DECAY_FACTOR = 0.1
PLATEAU_PATIENCE = 3
# As one-cycle is usually run: from a 25th of the learning rate to a 10,000th of that.
_CYCLE_START = 1.0 / 25.0
_CYCLE_END = _CYCLE_START / 1e4


class Schedule:
    """Sets the learning rate of each step.

    It depends on the number of the step and the figures of the epochs before, and on nothing else:
    there is no state to save.

    Args:
        optimiser: each of its groups begins with its highest learning rate.
        loop: the kind of schedule.
        steps_per_epoch: steps of the optimiser in an epoch.
    """

    def __init__(self, optimiser: Optimizer, loop: LoopConfig, steps_per_epoch: int) -> None:
        self._optimiser = optimiser
        self._highest = [group["lr"] for group in optimiser.param_groups]
        self._loop = loop
        self._steps = steps_per_epoch

    def apply(self, step: int, history: Sequence[Epoch]) -> None:
        """Set the learning rate for a step, counted from 0 over all epochs."""
        factor = learning_rate_factor(step, self._steps, self._loop)
        if self._loop.schedule == "plateau":
            factor *= _decay(self._loop) ** plateaus(
                [epoch.score for epoch in history], self._loop.plateau_patience or PLATEAU_PATIENCE
            )
        for group, highest in zip(self._optimiser.param_groups, self._highest, strict=True):
            group["lr"] = highest * factor


def learning_rate_factor(step: int, steps_per_epoch: int, loop: LoopConfig) -> float:
    """Share of the highest learning rate at a step, counted from 0.

    After a linear warm-up: a cosine to zero (https://arxiv.org/abs/1608.03983), a decay every so
    many epochs, or a constant, which is what plateaus are taken from. One-cycle
    (https://arxiv.org/abs/1708.07120) rises and falls along a cosine; its warm-up is the rise.
    """
    warmup = loop.warmup_epochs * steps_per_epoch
    total = loop.epochs * steps_per_epoch
    if loop.schedule == "one_cycle":
        if step < warmup:
            return _along_cosine(_CYCLE_START, 1.0, step / warmup)
        return _along_cosine(1.0, _CYCLE_END, (step - warmup) / max(1.0, total - 1 - warmup))
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if loop.schedule == "cosine":
        return _along_cosine(1.0, 0.0, (step - warmup) / max(1.0, total - warmup))
    if loop.schedule == "step":
        every = loop.decay_epochs or DECAY_EPOCHS
        return _decay(loop) ** (step // steps_per_epoch // every)
    return 1.0


def plateaus(scores: Sequence[tuple[float, float]], patience: int) -> int:
    """How often no epoch was better than the best for more than `patience` epochs."""
    found, since, best = 0, 0, None
    for score in scores:
        if best is None or score > best:
            best, since = score, 0
        else:
            since += 1
        if since > patience:
            found, since = found + 1, 0
    return found


def _decay(loop: LoopConfig) -> float:
    return DECAY_FACTOR if loop.decay_factor is None else loop.decay_factor


def _along_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))
