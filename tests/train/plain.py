"""A network that normalises each image by itself: it does not matter how a batch is divided."""

from torch import nn

from model.architectures import ARCHITECTURES, BaselineOptions, Classifier


def build_plain(classes: int, options: BaselineOptions) -> Classifier:
    layers: list[nn.Module] = []
    channels = 3
    for stage in range(options.depth):
        width = options.width * 2**stage
        convolution = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
        layers += [convolution, nn.GroupNorm(2, width), nn.ReLU()]
        channels = width
    head = nn.Sequential(nn.Dropout(options.dropout), nn.Linear(channels, classes))
    return Classifier(nn.Sequential(*layers), head, "features")


def offer_plain() -> None:
    """Let configurations name the network `plain`."""
    ARCHITECTURES["plain"] = (build_plain, BaselineOptions)
