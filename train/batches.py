"""Training images in random order, batch by batch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.explain import normalise
from train.augment import Augment
from train.config import TrainConfig
from train.data import Dataset
from train.device import memory_format
from train.errors import ConfigError
from train.imbalance import balanced_order
from train.launch import ALONE, Launch
from train.recipe import LoopConfig


class Batch(NamedTuple):
    """What one forward pass is given, on the device of training.

    Attributes:
        x: normalised images, float [B, 3, H, W].
        target: labels, int64 [B], or shares of the classes, float [B, K].
        last: whether it is the last one of its step.
    """

    x: Tensor
    target: Tensor
    last: bool = True


class Batches:
    """The training images of a run, or this process's share of each batch of them.

    Args:
        data: the decoded images.
        positions: of the training images among them.
        config: the run.
        generator: draws their order, the same on every process.
        changes: draws the augmentation of this process's share.
        device: where batches are wanted.
        launch: the place of this process among those that share the batches.

    Attributes:
        count: batches in an epoch.
        steps: groups of `loop.accumulate` batches in an epoch; the last may have fewer.
    """

    def __init__(
        self,
        data: Dataset,
        positions: npt.NDArray[np.int64],
        config: TrainConfig,
        generator: torch.Generator,
        changes: torch.Generator,
        device: torch.device,
        launch: Launch = ALONE,
    ) -> None:
        self.count = batches_per_epoch(len(positions), config.loop, launch)
        self.steps = -(-self.count // config.loop.accumulate)
        self._images = data.images
        self._labels = torch.from_numpy(data.labels)
        self._positions = positions
        self._loop = config.loop
        self._augment = Augment(config.augment, changes, len(data.classes))
        self._generator = generator
        self._device = device
        self._each = config.loop.batch_size // launch.size
        self._share = slice(launch.rank * self._each, (launch.rank + 1) * self._each)

    def draw_order(self) -> Tensor:
        """The order of the images in an epoch, int64 [N]."""
        if self._loop.sampler == "balanced":
            return balanced_order(self._labels[self._positions].numpy(), self._generator)
        return torch.randperm(len(self._positions), generator=self._generator)

    def example(self) -> Tensor:
        """A batch as the network is given it, of black images; nothing is drawn."""
        images = torch.zeros(self._each, *self._images.shape[1:], dtype=torch.uint8)
        x = normalise(images.to(self._device))
        return x.contiguous(memory_format=memory_format(self._loop))

    def labels(self, order: Tensor, step: int) -> list[Tensor]:
        """Labels of each batch of a step on all processes, counted from 0, before any are mixed."""
        return [self._labels[chosen] for chosen in self._chosen(order, step)]

    def batches(self, order: Tensor, step: int) -> Iterator[Batch]:
        """The batches of a step, counted from 0, with their random changes."""
        whole = self._chosen(order, step)
        for number, chosen in enumerate((each[self._share] for each in whole), start=1):
            image = torch.from_numpy(self._images[chosen]).to(self._device)
            target = self._labels[chosen].to(self._device)
            x, target = self._augment.mixed(normalise(self._augment.images(image)), target)
            x = x.contiguous(memory_format=memory_format(self._loop))
            yield Batch(x, target, last=number == len(whole))

    def _chosen(self, order: Tensor, step: int) -> list[npt.NDArray[np.int64]]:
        size, group = self._loop.batch_size, self._loop.accumulate
        numbers = range(step * group, min((step + 1) * group, self.count))
        return [np.sort(self._positions[order[n * size : (n + 1) * size].numpy()]) for n in numbers]


def batches_per_epoch(images: int, loop: LoopConfig, launch: Launch = ALONE) -> int:
    """Whole batches in an epoch; at least one is needed, and each is shared evenly.

    Raises:
        ConfigError: the images fill no batch, or the processes cannot share one.
    """
    if loop.batch_size % launch.size:
        raise ConfigError(
            f"loop.batch_size is {loop.batch_size}, the images of one batch on all {launch.size} "
            f"processes together; it must be a multiple of {launch.size}"
        )
    if images < loop.batch_size:
        raise ConfigError(
            f"loop.batch_size is {loop.batch_size}; there are only {images} training images"
        )
    return images // loop.batch_size
