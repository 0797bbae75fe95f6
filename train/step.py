"""One step of the optimiser."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from train.batches import Batch
from train.device import Precision
from train.errors import TrainingError
from train.losses import Loss
from train.recipe import LoopConfig
from train.replica import summing
from train.schedule import Schedule
from train.state import State


@dataclass(frozen=True)
class Step:
    """Forward and backward over one or more batches, and a step of the optimiser.

    Attributes:
        module: what is called: the network of the state, or what wraps it.
        state: what is changed.
        schedule: sets the learning rate.
        loss: sum over a batch, from logits and targets.
        precision: of the forward pass.
        loop: the bounds of the gradient.
    """

    module: nn.Module
    state: State
    schedule: Schedule
    loss: Loss
    precision: Precision
    loop: LoopConfig

    def __call__(self, number: int, batches: Iterable[Batch], size: float) -> float:
        """Take a step and return this process's part of the mean loss before it.

        Args:
            number: of the step, counted from 0 over all epochs.
            batches: their gradients are summed.
            size: of the loss, over all of them on all processes.

        Raises:
            TrainingError: the loss is no longer a number; the weights are not changed. Of several
                processes none raises alone; the sum of their parts tells all of them.
        """
        state, total = self.state, 0.0
        state.optimiser.zero_grad(set_to_none=True)
        for batch in batches:
            with summing(self.module, last=batch.last):
                with self.precision.autocast():
                    loss = self.loss(self.module(batch.x), batch.target) / size
                value = float(loss.detach())
                if state.world.alone:
                    self.check(value)
                # The gradients of all processes are averaged, and it is their sum that is wanted.
                loss = state.scaler.scale(loss * state.world.size)
                loss.backward()  # type: ignore[no-untyped-call]
            total += value
        self.schedule.apply(number, state.at.history)
        if self.loop.clip_norm is not None:
            state.scaler.unscale_(state.optimiser)
            nn.utils.clip_grad_norm_(state.network.parameters(), self.loop.clip_norm)
        state.scaler.step(state.optimiser)
        state.scaler.update()
        if state.average is not None:
            state.average.update(state.network)
        return total

    def check(self, loss: float) -> None:
        """Refuse a loss that is no longer a number.

        Raises:
            TrainingError: names the step.
        """
        at = self.state.at
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {at.epoch}, step {at.step + 1}; "
                f"a lower loop.learning_rate than {self.loop.learning_rate} may help"
            )
