"""A trained network over many images."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from model.architectures import Classifier
from model.explain import normalise
from train.distributed import World

BATCH = 64


class Answers(NamedTuple):
    """Answers for N images: logits [N, K], probabilities [N, K], cam [N, K, h, w], float32."""

    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    cam: npt.NDArray[np.float32]


@torch.inference_mode()
def logits_of(
    network: Classifier, images: npt.NDArray[np.uint8], device: torch.device
) -> npt.NDArray[np.float32]:
    """Logits, float32 [N, K], of uint8 images [N, H, W, 3]."""
    network.eval()
    parts = [
        network(normalise(torch.from_numpy(images[start : start + BATCH]).to(device)))
        for start in range(0, len(images), BATCH)
    ]
    return torch.cat(parts).float().cpu().numpy()


def shared_logits_of(
    network: Classifier,
    images: npt.NDArray[np.uint8],
    positions: npt.NDArray[np.int64],
    device: torch.device,
    world: World,
) -> npt.NDArray[np.float32]:
    """Logits, float32 [N, K], of the N images at `positions`, computed by all processes together.

    Each takes whole batches, so that every image is computed once, and in the company in which one
    process alone would compute it: the logits are the very same.
    """
    mine = positions[share(len(positions), world.rank, world.size)]
    parts = world.gather(logits_of(network, images[mine], device) if len(mine) else None)
    return np.concatenate([part for part in parts if part is not None])


def share(count: int, rank: int, size: int) -> slice:
    """Which of `count` images a process computes: whole batches, as evenly as they can be dealt."""
    batches = -(-count // BATCH)
    return slice(*(batches * each // size * BATCH for each in (rank, rank + 1)))


@torch.inference_mode()
def answers_of(graph: nn.Module, images: npt.NDArray[np.uint8]) -> Answers:
    """Final answers of an exported or eager graph, on the CPU."""
    parts = [
        graph(torch.from_numpy(images[start : start + BATCH]))
        for start in range(0, len(images), BATCH)
    ]
    return Answers(*(torch.cat(part).numpy() for part in zip(*parts, strict=True)))
