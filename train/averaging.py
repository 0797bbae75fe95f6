"""An exponential moving average of the weights, which is what is judged and kept."""

from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from model.architectures import Classifier

_Tensors = tuple[Tensor, ...] | list[Tensor]


class WeightAverage:
    """The average of a network's weights over the last steps.

    Statistics of batch normalisation are averaged with the weights they belong to; counters are
    copied. The first steps count for less than `decay` says, or the random weights of the beginning
    would be remembered for long.

    Args:
        network: on the device of training.
        decay: share of the average that a step keeps, < 1.
    """

    def __init__(self, network: Classifier, decay: float) -> None:
        self._averaged = AveragedModel(network, multi_avg_fn=self._mix, use_buffers=True)
        self._averaged.requires_grad_(False)
        self._decay = decay

    @property
    def network(self) -> Classifier:
        """The network with the averaged weights."""
        return cast(Classifier, self._averaged.module)

    def update(self, network: Classifier) -> None:
        """Take a step's weights into the average."""
        self._averaged.update_parameters(network)

    def state_dict(self) -> dict[str, Tensor]:
        return self._averaged.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._averaged.load_state_dict(state)

    @torch.no_grad()
    def _mix(self, averaged: _Tensors, current: _Tensors, _steps: Tensor | int) -> None:
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)
            return
        # Not the argument: on a GPU it is there too, and reading it would wait for the step.
        steps = int(self._averaged.n_averaged)
        decay = min(self._decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(averaged, current, 1.0 - decay)
