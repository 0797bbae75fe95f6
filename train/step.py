"""One step of the optimiser."""

import math
from dataclasses import dataclass

from torch import nn

from train.batches import Batch
from train.device import Precision
from train.errors import TrainingError
from train.losses import Loss
from train.recipe import LoopConfig
from train.state import State


@dataclass(frozen=True)
class Step:
    """Forward, backward, and a step of the optimiser.

    Attributes:
        module: what is called: the network of the state, or what wraps it.
        state: what is changed.
        loss: mean over a batch, from logits and labels.
        precision: of the forward pass.
        loop: the bounds of the gradient.
    """

    module: nn.Module
    state: State
    loss: Loss
    precision: Precision
    loop: LoopConfig

    def __call__(self, batch: Batch) -> float:
        """Take the step and return the mean loss before it.

        Raises:
            TrainingError: the loss is no longer a number; nothing is changed.
        """
        state = self.state
        with self.precision.autocast():
            loss = self.loss(self.module(batch.x), batch.target)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} in epoch {state.at.epoch}, step {state.at.step + 1}; "
                f"a lower loop.learning_rate than {self.loop.learning_rate} may help"
            )
        state.optimiser.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        state.scaler.unscale_(state.optimiser)
        nn.utils.clip_grad_norm_(state.network.parameters(), self.loop.clip_norm)
        state.scaler.step(state.optimiser)
        state.scaler.update()
        state.schedule.step()
        return value
