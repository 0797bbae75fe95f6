"""Grad-CAM inside the graph: exact, for every class at once, without autograd.

Grad-CAM (https://arxiv.org/abs/1610.02391) weights the feature map A by the spatially averaged
gradient of a logit. With global average pooling before the head, d logit_k / d A is the same at
every position: J_kc / (h w), where J is the Jacobian of the head alone (pooled features to logits).
So the map is relu(sum_c J_kc A_c) / (h w), and J has a closed form for the few layers that heads
are made of. All of it is ordinary tensor arithmetic, which traces to TorchScript and exports to
ONNX with a dynamic batch.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.architectures import Classifier
from model.errors import ExplainError

# Channel means and deviations of ImageNet, which every torchvision backbone expects.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)

Rule = Callable[[Tensor, Tensor, nn.Module], Tensor]


class Explained(NamedTuple):
    """The final answer of a network for a batch.

    Attributes:
        logits: float [B, K].
        probabilities: float [B, K], softmax of the logits over the calibrated temperature.
        cam: float [B, K, h, w], Grad-CAM of every class, >= 0, before upsampling.
    """

    logits: Tensor
    probabilities: Tensor
    cam: Tensor


class ExplainedClassifier(nn.Module):
    """The graph that is exported: pixels in, calibrated probabilities and Grad-CAM out.

    Args:
        classifier: a trained network.
        temperature: calibrated softmax temperature, > 0.

    Raises:
        ExplainError: the head has a layer without a derivative rule.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(self, classifier: Classifier, temperature: float = 1.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}; it must be greater than 0")
        check_head(classifier.head)
        self.classifier = classifier
        mean, std = _statistics()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Answer for uint8 pixels [B, H, W, 3]; see :class:`Explained`."""
        x = image.permute(0, 3, 1, 2).to(self.mean.dtype)
        feature_map = self.classifier.features((x - self.mean) / self.std)
        logits, jacobian = head_with_jacobian(self.classifier.head, feature_map.mean(dim=(2, 3)))
        probabilities = torch.softmax(logits / self.temperature, dim=1)
        return Explained(logits, probabilities, grad_cam(feature_map, jacobian))


def normalise(image: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> the network's float input [B, 3, H, W], as inside the graph."""
    count, height_px, width_px, _ = image.shape
    # Whole rows at a time: torch is four times slower where only three values are repeated.
    mean, std = (each.flatten().repeat(width_px).to(image.device) for each in _statistics())
    rows = image.contiguous().to(torch.float32, copy=True).view(count, height_px, -1)
    return rows.sub_(mean).div_(std).view(image.shape).permute(0, 3, 1, 2)


def _statistics() -> tuple[Tensor, Tensor]:
    """Means and deviations for values of 0 to 255, [1, 3, 1, 1] each."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    return mean * 255.0, std * 255.0


def grad_cam(feature_map: Tensor, jacobian: Tensor) -> Tensor:
    """Grad-CAM of every class.

    Args:
        feature_map: float [B, C, h, w].
        jacobian: d logits / d pooled features, [B, K, C], or [K, C] where the head is linear.

    Returns:
        float [B, K, h, w], >= 0.
    """
    area = feature_map.shape[2] * feature_map.shape[3]
    if jacobian.dim() == 2:
        weighted = F.conv2d(feature_map, jacobian[:, :, None, None])
    else:
        flat = torch.bmm(jacobian, feature_map.flatten(2))
        weighted = flat.view(-1, flat.shape[1], *feature_map.shape[2:])
    return torch.relu(weighted) / area


def head_with_jacobian(head: nn.Sequential, pooled: Tensor) -> tuple[Tensor, Tensor]:
    """Run the head and differentiate it in closed form.

    Args:
        head: layers of :data:`RULES`, in evaluation mode.
        pooled: float [B, C].

    Returns:
        logits [B, K] and their Jacobian: [K, C] as long as only linear layers were met, else
        [B, K, C].
    """
    x, inputs = pooled, []
    for layer in head:
        inputs.append(x)
        # torchvision's head activations work in place, which would overwrite the very value
        # their derivative needs.
        x = layer(x.clone()) if getattr(layer, "inplace", False) else layer(x)
    gradient: Tensor = cast(nn.Linear, head[-1]).weight
    for layer, value in zip(reversed(head[:-1]), reversed(inputs[:-1]), strict=True):
        gradient = RULES[type(layer)](gradient, value, layer)
    return x, gradient


def check_head(head: nn.Sequential) -> None:
    """Refuse a head with a layer that has no rule, rather than draw a wrong map."""
    for index, layer in enumerate(head):
        if type(layer) not in RULES:
            known = ", ".join(sorted(kind.__name__ for kind in RULES))
            raise ExplainError(
                f"head layer {index} is {type(layer).__name__}, which has no closed-form "
                f"derivative rule; known layers: {known}"
            )
    if len(head) == 0 or not isinstance(head[-1], nn.Linear):
        raise ExplainError("the head's last layer must be Linear: its outputs are the logits")


def _linear(gradient: Tensor, value: Tensor, layer: nn.Module) -> Tensor:
    return gradient @ cast(nn.Linear, layer).weight


def _pass(gradient: Tensor, value: Tensor, layer: nn.Module) -> Tensor:
    return gradient


def _batch_norm(gradient: Tensor, value: Tensor, layer: nn.Module) -> Tensor:
    # In evaluation mode the statistics are constants, https://arxiv.org/abs/1502.03167.
    norm = cast(nn.BatchNorm1d, layer)
    if norm.training or norm.running_var is None:
        raise ExplainError("BatchNorm1d has no rule in training mode; call eval() first")
    scale = torch.rsqrt(norm.running_var + norm.eps)
    return gradient * (scale * norm.weight if norm.affine else scale)


def _elementwise(derivative: Callable[[Tensor, nn.Module], Tensor]) -> Rule:
    def rule(gradient: Tensor, value: Tensor, layer: nn.Module) -> Tensor:
        return gradient * derivative(value, layer)[:, None, :]

    return rule


def _relu(x: Tensor, layer: nn.Module) -> Tensor:
    return (x > 0).to(x.dtype)


def _hardswish(x: Tensor, layer: nn.Module) -> Tensor:
    slope = (2.0 * x + 3.0) / 6.0
    return torch.where(x <= -3.0, torch.zeros_like(x), torch.where(x < 3.0, slope, 1.0))


def _silu(x: Tensor, layer: nn.Module) -> Tensor:
    gate = torch.sigmoid(x)
    return gate * (1.0 + x * (1.0 - gate))


def _gelu(x: Tensor, layer: nn.Module) -> Tensor:
    approximate = cast(nn.GELU, layer).approximate
    if approximate != "none":
        raise ExplainError(f"GELU(approximate={approximate!r}) has no rule; accepted: 'none'")
    density = torch.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0))) + x * density


def _layer_norm(gradient: Tensor, value: Tensor, layer: nn.Module) -> Tensor:
    # y = (x - mean) / deviation * weight + bias, https://arxiv.org/abs/1607.06450; both the mean
    # and the deviation depend on x, hence the two subtracted projections.
    norm = cast(nn.LayerNorm, layer)
    variance, mean = torch.var_mean(value, dim=1, correction=0, keepdim=True)
    inverse = torch.rsqrt(variance + norm.eps)
    unit = ((value - mean) * inverse)[:, None, :]
    scaled = gradient * norm.weight if norm.elementwise_affine else gradient
    along = (scaled * unit).mean(dim=-1, keepdim=True)
    return (scaled - scaled.mean(dim=-1, keepdim=True) - unit * along) * inverse[:, None, :]


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    nn.Dropout: _pass,
    nn.Identity: _pass,
    nn.Flatten: _pass,
    nn.ReLU: _elementwise(_relu),
    nn.Hardswish: _elementwise(_hardswish),
    nn.SiLU: _elementwise(_silu),
    nn.GELU: _elementwise(_gelu),
    nn.LayerNorm: _layer_norm,
    nn.BatchNorm1d: _batch_norm,
}
