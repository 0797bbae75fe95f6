"""Checkpoints: written atomically, read without unpickling."""

from pathlib import Path
from typing import Any, BinaryIO

import torch

from model.architectures import Classifier
from train.atomic import write_atomically
from train.errors import RunError

BEST = "best.pt"
LAST = "last.pt"


def save_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Write a dictionary of tensors and plain values.

    Raises:
        OSError: it cannot be written, because the disk is full for example.
    """

    def write(stream: BinaryIO) -> None:
        try:
            torch.save(state, stream)
        except RuntimeError as error:
            # torch's own error hides what the system has said.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    write_atomically(file, write)


def remove_partial(directory: Path) -> None:
    """Remove what a process left that was killed while it wrote a checkpoint."""
    for file in directory.glob(".*.pt.[0-9]*"):
        file.unlink(missing_ok=True)


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU.

    Raises:
        RunError: it is missing or no checkpoint.
    """
    if not file.is_file():
        raise RunError(f"{file} is missing; `python -m train fit` writes it")
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(f"{file} is no readable checkpoint: {error}") from error
    return state


def load_weights(network: Classifier, file: Path) -> Classifier:
    """Put a checkpoint's weights into a network and set it to evaluation.

    Raises:
        RunError: it is missing, no checkpoint, or of another network.
    """
    state = load_checkpoint(file)
    try:
        network.load_state_dict(state["model"])
    except (KeyError, RuntimeError) as error:
        raise RunError(f"{file} is a checkpoint of another network: {error}") from error
    return network.eval()
