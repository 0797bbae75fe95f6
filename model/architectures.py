"""Networks by name, each split into `features` and `head`.

The split is what makes the explanation exact and cheap: between the two lies only global average
pooling, so the gradient of a class with respect to the feature map is constant over space
(see `model.explain`).
"""

from collections.abc import Callable
from typing import Any, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torchvision import models

from model.bundle import validation_message
from model.errors import SightlineError


class Classifier(nn.Module):
    """A feature extractor, global average pooling and a small head.

    Attributes:
        features: float [B, 3, H, W] -> float [B, C, h, w].
        head: float [B, C] -> logits, float [B, K].
        explained_layer: name of the layer whose output `features` is, for the manifest.
    """

    def __init__(self, features: nn.Module, head: nn.Sequential, explained_layer: str) -> None:
        super().__init__()
        self.features = features
        self.head = head
        self.explained_layer = explained_layer

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return logits


class BaselineOptions(BaseModel):
    """Depth and width of the small CNN."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: int = Field(default=3, ge=1, le=6, description="stages, each halves the resolution")
    width: int = Field(default=32, ge=4, le=512, description="channels of the first stage")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)


class NoOptions(BaseModel):
    """Networks of torchvision come as published."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Builder(Protocol):
    """Makes an untrained network for `classes` classes."""

    def __call__(self, classes: int, options: Any) -> Classifier: ...


def build(name: str, classes: int, options: dict[str, Any] | None = None) -> Classifier:
    """Make an untrained classifier.

    Args:
        name: a key of :data:`ARCHITECTURES`.
        classes: number of classes K, at least 2.
        options: settings of the architecture; an unknown one is an error.

    Raises:
        SightlineError: unknown name, fewer than two classes, or an option that is unknown or out
            of range.
    """
    if name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise SightlineError(f"architecture {name!r} is unknown; accepted: {known}")
    if classes < 2:
        raise SightlineError(f"classes is {classes}; a classifier needs at least 2")
    builder, schema = ARCHITECTURES[name]
    try:
        checked = schema.model_validate(options or {})
    except ValidationError as error:
        accepted = ", ".join(schema.model_fields) or "none"
        raise SightlineError(
            f"{validation_message(error, 'model.options')}; options of {name}: {accepted}"
        ) from error
    return builder(classes, checked)


def _baseline(classes: int, options: BaselineOptions) -> Classifier:
    # Halving by even kernels keeps every cell of the map centred over the pixels it has seen; odd
    # ones would shift the explanation towards a corner at each stage. All else mixes channels only:
    # what a cell has not seen it cannot blame, so a narrow view keeps the map on the spot.
    channels = options.width
    layers = [*_conv(3, channels, kernel=4, stride=2)]
    for _ in range(options.depth - 1):
        layers += _conv(channels, 2 * channels, kernel=4, stride=2)
        channels *= 2
        layers += _conv(channels, channels, kernel=1, stride=1)
    # Starting the last features mostly off leaves the map empty but for what the class needs.
    nn.init.constant_(cast(nn.BatchNorm2d, layers[-2]).bias, -1.5)
    logits = nn.Linear(channels, classes)
    nn.init.normal_(logits.weight, std=0.01)
    head = nn.Sequential(nn.BatchNorm1d(channels), nn.Dropout(options.dropout), logits)
    return Classifier(nn.Sequential(*layers), head, f"features.{len(layers) - 1}")


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int) -> list[nn.Module]:
    padding = (kernel - 1) // 2
    return [
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    ]


def _resnet(make: Callable[..., models.ResNet]) -> Builder:
    def builder(classes: int, options: NoOptions) -> Classifier:
        net = make(weights=None, num_classes=classes)
        features = nn.Sequential(
            net.conv1,
            net.bn1,
            net.relu,
            net.maxpool,
            net.layer1,
            net.layer2,
            net.layer3,
            net.layer4,
        )
        return Classifier(features, nn.Sequential(net.fc), "layer4")

    return builder


def _with_classifier(make: Callable[..., Any]) -> Builder:
    def builder(classes: int, options: NoOptions) -> Classifier:
        net = make(weights=None, num_classes=classes)
        return Classifier(net.features, net.classifier, f"features.{len(net.features) - 1}")

    return builder


def _convnext(classes: int, options: NoOptions) -> Classifier:
    net = models.convnext_tiny(weights=None, num_classes=classes)
    norm, linear = net.classifier[0], net.classifier[2]
    # torchvision normalises the pooled map as [B, C, 1, 1]; on [B, C] it is a plain LayerNorm.
    plain = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    plain.load_state_dict(norm.state_dict())
    last = f"features.{len(net.features) - 1}"
    return Classifier(net.features, nn.Sequential(plain, linear), last)


def _densenet(classes: int, options: NoOptions) -> Classifier:
    net = models.densenet121(weights=None, num_classes=classes)
    # The map that is pooled is the one after the last ReLU, which torchvision applies in forward().
    features = nn.Sequential(net.features, nn.ReLU())
    return Classifier(features, nn.Sequential(net.classifier), "features.norm5 + relu")


ARCHITECTURES: dict[str, tuple[Builder, type[BaseModel]]] = {
    "baseline": (_baseline, BaselineOptions),
    "convnext_tiny": (_convnext, NoOptions),
    "densenet121": (_densenet, NoOptions),
    "efficientnet_b0": (_with_classifier(models.efficientnet_b0), NoOptions),
    "efficientnet_v2_s": (_with_classifier(models.efficientnet_v2_s), NoOptions),
    "mobilenet_v3_large": (_with_classifier(models.mobilenet_v3_large), NoOptions),
    "resnet18": (_resnet(models.resnet18), NoOptions),
    "resnet50": (_resnet(models.resnet50), NoOptions),
}
