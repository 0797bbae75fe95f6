"""Training images in random order, batch by batch."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.explain import normalise
from train.augment import augment
from train.config import TrainConfig
from train.data import Dataset
from train.errors import ConfigError
from train.recipe import LoopConfig


class Batch(NamedTuple):
    """Normalised images, float [B, 3, H, W], and their labels [B], on the device of training."""

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
        steps: batches in an epoch.
    """

    def __init__(
        self,
        data: Dataset,
        positions: npt.NDArray[np.int64],
        config: TrainConfig,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.steps = steps_per_epoch(len(positions), config.loop)
        self._images = data.images
        self._labels = torch.from_numpy(data.labels)
        self._positions = positions
        self._config = config
        self._generator = generator
        self._device = device

    def draw_order(self) -> Tensor:
        """The order of the images in an epoch, int64 [N]."""
        return torch.randperm(len(self._positions), generator=self._generator)

    def batch(self, order: Tensor, step: int) -> Batch:
        """The batch of a step, counted from 0, with its random changes."""
        size = self._config.loop.batch_size
        chosen = np.sort(self._positions[order[step * size : (step + 1) * size].numpy()])
        image = torch.from_numpy(self._images[chosen]).to(self._device)
        x = normalise(augment(image, self._config.augment, self._generator))
        target = self._labels[chosen].to(self._device)
        return Batch(x.contiguous(memory_format=torch.channels_last), target)


def steps_per_epoch(images: int, loop: LoopConfig) -> int:
    """Whole batches in an epoch; at least one is needed."""
    if images < loop.batch_size:
        raise ConfigError(
            f"loop.batch_size is {loop.batch_size}; there are only {images} training images"
        )
    return images // loop.batch_size
