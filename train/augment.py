"""Random changes of training images, on whole batches of tensors."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torchvision.transforms import v2

from train.presets import AugmentConfig
from train.transforms import Affine, Expose, Flip, PerImage

_BLUR_SIGMA = (0.3, 1.5)
_BLUR_KERNEL = 7


class Augment:
    """Changes each image of a batch by its own random amounts.

    Every draw comes from a generator of its own. Transforms of torchvision draw from torch's
    global one, which dropout uses too; so the generator takes its place while they run. Then
    neither depends on what the other draws, and the saved generator is all that is needed to go on.

    Args:
        config: the largest amounts.
        generator: CPU generator; the same state gives the same images.
        classes: number of classes K, for soft targets.
    """

    def __init__(self, config: AugmentConfig, generator: torch.Generator, classes: int) -> None:
        self._generator = generator
        self._changes = _changes(config)
        self._mixing = _mixing(config, classes)

    def images(self, image: Tensor) -> Tensor:
        """Change uint8 images [B, H, W, 3] on any device, into the same again."""
        if self._changes is None:
            return image
        with _lent(self._generator):
            x: Tensor = self._changes(image.permute(0, 3, 1, 2))
        return x.clamp(0.0, 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)

    def mixed(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Blend or patch images, float [B, 3, H, W], with others of the batch.

        Returns:
            Images of the same shape, and targets: the labels [B], or their shares [B, K].
        """
        if self._mixing is None:
            return x, target
        with _lent(self._generator):
            # The partner is the neighbour, and a batch is sorted as the images are on disk, where a
            # class lies together.
            partners = torch.randperm(len(x))
            x, target = self._mixing(x[partners.to(x.device)], target[partners.to(x.device)])
        return x, target


def _changes(config: AugmentConfig) -> v2.Transform | None:
    amount = config.amount
    changes: list[v2.Transform] = []
    if any(map(amount, ("brightness", "contrast", "gamma"))):
        changes.append(Expose(amount("brightness"), amount("contrast"), amount("gamma")))
    if any(map(amount, ("translate", "rotate_deg", "scale"))):
        changes.append(Affine(amount("translate"), amount("rotate_deg"), amount("scale")))
    if amount("flip"):
        changes.append(Flip(amount("flip")))
    if amount("blur"):
        blur = v2.GaussianBlur(_BLUR_KERNEL, _BLUR_SIGMA)
        changes.append(PerImage(v2.RandomApply([blur], amount("blur"))))
    if amount("erase"):
        changes.append(PerImage(v2.RandomErasing(amount("erase"), scale=(0.02, 0.2))))
    return v2.Compose(changes) if changes else None


def _mixing(config: AugmentConfig, classes: int) -> v2.Transform | None:
    mixing = []
    if config.mixup:
        mixing.append(v2.MixUp(alpha=config.mixup, num_classes=classes))
    if config.cutmix:
        mixing.append(v2.CutMix(alpha=config.cutmix, num_classes=classes))
    return v2.RandomChoice(mixing) if mixing else None


@contextmanager
def _lent(generator: torch.Generator) -> Iterator[None]:
    """Draw from `generator` where torch's global one is asked."""
    before = torch.get_rng_state()
    torch.set_rng_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.get_rng_state())
        torch.set_rng_state(before)
