"""Loops as they are usually written, with what is alike in all of them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from model.architectures import Classifier
from train.metrics import macro_f1

WEIGHT_DECAY = 0.02


@torch.inference_mode()
def judge(network: Classifier, loader: Iterable[Any], device: torch.device) -> float:
    """Macro-F1 over the (image, label) batches of a loader."""
    network.eval()
    labels, answers = [], []
    for image, target in loader:
        answers.append(network(image.to(device)).argmax(1).cpu().numpy())
        labels.append(target.cpu().numpy())
    last = network.head[-1]
    assert isinstance(last, torch.nn.Linear)
    return macro_f1(np.concatenate(labels), np.concatenate(answers), last.out_features)
