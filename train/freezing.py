"""A backbone that learns later than its head, and slower the deeper a layer lies."""

from collections.abc import Iterator

from torch import nn
from torch.nn import Parameter

from model.architectures import Classifier


def freeze_backbone(network: Classifier, frozen: bool) -> None:
    """Let only the head learn, or all; for a network in training mode.

    A frozen backbone is in evaluation mode: its batch normalisation keeps its statistics too.
    """
    network.features.requires_grad_(not frozen)
    network.features.train(not frozen)


def layer_scales(network: Classifier, decay: float) -> Iterator[tuple[Parameter, float]]:
    """Each parameter and its share of the learning rate: 1 in the head, `decay` in the layer below,
    and so on down; https://arxiv.org/abs/1801.06146 calls it discriminative fine-tuning.

    In the order of the network's own parameters.
    """
    layers = _layers(network.features)
    for number, layer in enumerate(layers):
        for parameter in layer.parameters():
            yield parameter, decay ** (len(layers) - number)
    for parameter in network.head.parameters():
        yield parameter, 1.0


def _layers(features: nn.Module) -> list[nn.Module]:
    """The parts of a backbone that have parameters, from the image up."""
    parts = [part for part in features.children() if any(True for _ in part.parameters())]
    # densenet's are one level down, beside the last ReLU.
    return _layers(parts[0]) if len(parts) == 1 else parts
