"""Random changes of training images, on whole batches of tensors."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from train.recipe import AugmentConfig


def augment(image: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Move, turn, scale and re-expose each image by its own random amounts.

    Args:
        image: uint8 [B, H, W, 3].
        config: the largest amounts.
        generator: CPU generator; the same state gives the same images.

    Returns:
        uint8 [B, H, W, 3], on the device of `image`.
    """
    x = _expose(image, config, generator).permute(0, 3, 1, 2)
    grid = _grid(len(x), x.shape[2], x.shape[3], config, generator).to(x.device)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return x.clamp(0.0, 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)


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


def _expose(image: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Gamma, contrast about the image's own mean, and brightness, as one table per image.

    There are 256 values to compute for each image, and not one for each pixel.
    """
    count = len(image)
    gamma = torch.exp(_uniform(count, config.gamma, generator))[:, None]
    contrast = 1.0 + _uniform(count, config.contrast, generator)[:, None]
    brightness = _uniform(count, config.brightness, generator)[:, None]
    mean = image.float().mean(dim=(1, 2, 3)).cpu()[:, None] / 255.0
    levels = torch.linspace(0.0, 1.0, 256).expand(count, -1) ** gamma
    table = ((levels - mean**gamma) * contrast + mean**gamma + brightness).clamp(0.0, 1.0) * 255.0
    offset = 256 * torch.arange(count, device=image.device, dtype=torch.int32)
    index = image.int() + offset.view(-1, 1, 1, 1)
    exposed: Tensor = table.flatten().to(image.device)[index]
    return exposed
