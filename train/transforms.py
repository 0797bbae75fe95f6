"""Transforms of torchvision's second kind that treat each image of a batch in its own way.

Torchvision's own draw one amount for all that they are given, so a batch would have to be taken
apart, changed image by image and put together again.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2


class Expose(v2.Transform):  # type: ignore[misc]
    """Gamma, contrast about the image's own mean, and brightness, as one table per image.

    There are 256 values to compute for each image, and not one for each pixel. From uint8
    [B, 3, H, W] to float of 0 to 255.

    Args:
        brightness: largest change, as share of the range.
        contrast: largest relative change.
        gamma: largest logarithm of the exponent.
    """

    def __init__(self, brightness: float, contrast: float, gamma: float) -> None:
        super().__init__()
        self.brightness, self.contrast, self.gamma = brightness, contrast, gamma

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        count = len(flat_inputs[0])
        return {
            "gamma": torch.exp(_uniform(count, self.gamma))[:, None],
            "contrast": 1.0 + _uniform(count, self.contrast)[:, None],
            "brightness": _uniform(count, self.brightness)[:, None],
        }

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        count, gamma = len(inpt), params["gamma"]
        mean = inpt.float().mean(dim=(1, 2, 3)).cpu()[:, None] / 255.0
        levels = torch.linspace(0.0, 1.0, 256).expand(count, -1) ** gamma
        table = (levels - mean**gamma) * params["contrast"] + mean**gamma + params["brightness"]
        offset = 256 * torch.arange(count, device=inpt.device, dtype=torch.int32)
        index = inpt.int() + offset.view(-1, 1, 1, 1)
        exposed: Tensor = (table.clamp(0.0, 1.0) * 255.0).flatten().to(inpt.device)[index]
        return exposed


class Affine(v2.Transform):  # type: ignore[misc]
    """Move, turn and scale; beyond the border lies what is on it.

    Args:
        translate: largest way along each side, as share of it.
        rotate_deg: largest angle.
        scale: largest relative change of the size.
    """

    def __init__(self, translate: float, rotate_deg: float, scale: float) -> None:
        super().__init__()
        self.translate, self.rotate_deg, self.scale = translate, rotate_deg, scale

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        count = len(flat_inputs[0])
        return {
            "angle": _uniform(count, math.radians(self.rotate_deg)),
            "zoom": 1.0 / (1.0 + _uniform(count, self.scale)),
            "right": _uniform(count, 2.0 * self.translate),
            "down": _uniform(count, 2.0 * self.translate),
        }

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        count, _, height, width = inpt.shape
        cosine = torch.cos(params["angle"]) * params["zoom"]
        sine = torch.sin(params["angle"]) * params["zoom"]
        # grid_sample's coordinates span -1..1 on both axes, so a turn must be corrected for the
        # aspect.
        aspect = height / width
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0], theta[:, 0, 1] = cosine, -sine * aspect
        theta[:, 1, 0], theta[:, 1, 1] = sine / aspect, cosine
        theta[:, 0, 2], theta[:, 1, 2] = params["right"], params["down"]
        grid = F.affine_grid(theta.to(inpt.device), [count, 3, height, width], align_corners=False)
        return F.grid_sample(
            inpt.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
        )


class Flip(v2.Transform):  # type: ignore[misc]
    """Mirror left to right, with a probability."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"flipped": torch.rand(len(flat_inputs[0])) < self.probability}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        flipped = params["flipped"].to(inpt.device).view(-1, 1, 1, 1)
        return torch.where(flipped, inpt.flip(-1), inpt)


class PerImage(v2.Transform):  # type: ignore[misc]
    """Another transform, with draws of its own for each image of a batch."""

    def __init__(self, change: v2.Transform) -> None:
        super().__init__()
        self.change = change

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        return torch.stack([self.change(image) for image in inpt])


def _uniform(count: int, amount: float) -> Tensor:
    return (torch.rand(count) * 2.0 - 1.0) * amount
