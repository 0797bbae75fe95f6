"""Random changes of training images, on whole batches of tensors."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from train.config import AugmentConfig


def augment(image: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Move, turn, scale and re-expose each image by its own random amounts.

    Args:
        image: uint8 [B, H, W, 3].
        config: the largest amounts.
        generator: CPU generator; the same state gives the same images.

    Returns:
        uint8 [B, H, W, 3], on the device of `image`.
    """
    x = image.permute(0, 3, 1, 2).float()
    grid = _grid(len(x), x.shape[2], x.shape[3], config, generator).to(x.device)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return _expose(x, config, generator).permute(0, 2, 3, 1)


def _uniform(count: int, amount: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(count, generator=generator) * 2.0 - 1.0) * amount


def _grid(
    count: int, height: int, width: int, config: AugmentConfig, generator: torch.Generator
) -> Tensor:
    angle = _uniform(count, math.radians(config.rotate_deg), generator)
    zoom = 1.0 / (1.0 + _uniform(count, config.scale, generator))
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # grid_sample's coordinates span -1..1 on both axes, so a turn must be corrected for the aspect.
    aspect = height / width
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = cosine, -sine * aspect
    theta[:, 1, 0], theta[:, 1, 1] = sine / aspect, cosine
    theta[:, 0, 2] = _uniform(count, 2.0 * config.translate, generator)
    theta[:, 1, 2] = _uniform(count, 2.0 * config.translate, generator)
    return F.affine_grid(theta, [count, 3, height, width], align_corners=False)


def _expose(x: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    def per_image(amount: float) -> Tensor:
        return _uniform(len(x), amount, generator).view(-1, 1, 1, 1).to(x.device)

    unit = (x / 255.0).clamp(0.0, 1.0) ** torch.exp(per_image(config.gamma))
    centre = unit.mean(dim=(1, 2, 3), keepdim=True)
    unit = (unit - centre) * (1.0 + per_image(config.contrast)) + centre
    unit = unit + per_image(config.brightness)
    return unit.clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
