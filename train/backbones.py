"""Backbones of torchvision: what their published weights are called, and what ours."""

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

_PLAIN = {"features.": "features.", "classifier.": "head."}
_RESNET = {
    "conv1.": "features.0.",
    "bn1.": "features.1.",
    "layer1.": "features.4.",
    "layer2.": "features.5.",
    "layer3.": "features.6.",
    "layer4.": "features.7.",
    "fc.": "head.0.",
}

# By architecture: the beginning of a name of torchvision's, and of ours.
PREFIXES: dict[str, dict[str, str]] = {
    "convnext_tiny": {
        "features.": "features.",
        "classifier.0.": "head.0.",
        "classifier.2.": "head.1.",
    },
    "densenet121": {"features.": "features.0.", "classifier.": "head.0."},
    "efficientnet_b0": _PLAIN,
    "efficientnet_v2_s": _PLAIN,
    "mobilenet_v3_large": _PLAIN,
    "resnet18": _RESNET,
    "resnet50": _RESNET,
}

# The published file of densenet121 is older than the names in the code.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")


def translated(architecture: str, state: Mapping[str, T]) -> dict[str, T]:
    """Torchvision's state under the names of a :class:`model.architectures.Classifier`.

    What no prefix begins keeps its name.
    """
    prefixes = PREFIXES.get(architecture, {})
    renamed = {}
    for name, value in state.items():
        name = _OLD_DENSENET.sub(r"\1\2.", name)
        for theirs, ours in prefixes.items():
            if name.startswith(theirs):
                name = ours + name.removeprefix(theirs)
                break
        renamed[name] = value
    return renamed
