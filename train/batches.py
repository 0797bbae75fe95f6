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
from train.recipe import LoopConfig


class Batch(NamedTuple):
    """What one forward pass is given, on the device of training.

    Attributes:
        x: normalised images, float [B, 3, H, W].
        target: labels, int64 [B], or shares of the classes, float [B, K].
    """

    x: Tensor
    target: Tensor


class Batches:
    """The training images of a run.

    Args:
        data: the decoded images.
        positions: of the training images among them.
        config: the run.
        generator: draws their order and their augmentation.
        device: where batches are wanted.

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
        device: torch.device,
    ) -> None:
        self.count = batches_per_epoch(len(positions), config.loop)
        self.steps = -(-self.count // config.loop.accumulate)
        self._images = data.images
        self._labels = torch.from_numpy(data.labels)
        self._positions = positions
        self._loop = config.loop
        self._augment = Augment(config.augment, generator, len(data.classes))
        self._generator = generator
        self._device = device

    def draw_order(self) -> Tensor:
        """The order of the images in an epoch, int64 [N]."""
        if self._loop.sampler == "balanced":
            return balanced_order(self._labels[self._positions].numpy(), self._generator)
        return torch.randperm(len(self._positions), generator=self._generator)

    def example(self) -> Tensor:
        """A batch as the network is given it, of black images; nothing is drawn."""
        images = torch.zeros(self._loop.batch_size, *self._images.shape[1:], dtype=torch.uint8)
        x = normalise(images.to(self._device))
        return x.contiguous(memory_format=memory_format(self._loop))

    def labels(self, order: Tensor, step: int) -> list[Tensor]:
        """Labels of each batch of a step, counted from 0, before any are mixed."""
        return [self._labels[chosen] for chosen in self._chosen(order, step)]

    def batches(self, order: Tensor, step: int) -> Iterator[Batch]:
        """The batches of a step, counted from 0, with their random changes."""
        for chosen in self._chosen(order, step):
            image = torch.from_numpy(self._images[chosen]).to(self._device)
            target = self._labels[chosen].to(self._device)
            x, target = self._augment.mixed(normalise(self._augment.images(image)), target)
            yield Batch(x.contiguous(memory_format=memory_format(self._loop)), target)

    def _chosen(self, order: Tensor, step: int) -> list[npt.NDArray[np.int64]]:
        size, group = self._loop.batch_size, self._loop.accumulate
        numbers = range(step * group, min((step + 1) * group, self.count))
        return [np.sort(self._positions[order[n * size : (n + 1) * size].numpy()]) for n in numbers]


def batches_per_epoch(images: int, loop: LoopConfig) -> int:
    """Whole batches in an epoch; at least one is needed."""
    if images < loop.batch_size:
        raise ConfigError(
            f"loop.batch_size is {loop.batch_size}; there are only {images} training images"
        )
    return images // loop.batch_size
