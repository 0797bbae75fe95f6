"""The answers for the test images, kept so that runs can be compared image by image."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.assessment import Scored
from train.atomic import write_csv
from train.errors import RunError

PREDICTIONS = "predictions.csv"
_FIXED = ("image", "patient", "label")


@dataclass(frozen=True)
class Predictions:
    """Calibrated answers for N test images.

    Attributes:
        images: SHA-256 of each image's file.
        keys: the K class keys.
        scored: the answers; its patients are numbers that mean nothing beyond this file.
    """

    images: list[str]
    keys: list[str]
    scored: Scored


def write_predictions(
    file: Path, images: Sequence[str], keys: Sequence[str], scored: Scored
) -> None:
    """Write image,label,patient and a probability per class; no name of a file or patient."""
    rows = (
        [image, str(group), keys[label], *(repr(float(value)) for value in row)]
        for image, group, label, row in zip(
            images, scored.groups, scored.labels, scored.probabilities, strict=True
        )
    )
    write_csv(file, [*_FIXED, *keys], rows)


def read_predictions(file: Path) -> Predictions:
    """Read what :func:`write_predictions` has written.

    Raises:
        RunError: it is missing or no such file.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            header, *rows = list(csv.reader(stream))
        if tuple(header[: len(_FIXED)]) != _FIXED:
            raise ValueError(f"its columns are {', '.join(header)}")
        keys = header[len(_FIXED) :]
        scored = Scored(
            np.array([keys.index(row[2]) for row in rows], dtype=np.int64),
            np.array([[float(cell) for cell in row[3:]] for row in rows], dtype=np.float64),
            np.array([int(row[1]) for row in rows], dtype=np.int64),
        )
        if scored.probabilities.shape != (len(rows), len(keys)):
            raise ValueError("a row has too few or too many cells")
    except FileNotFoundError:
        raise RunError(f"{file} is missing; `python -m train evaluate` writes it") from None
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise RunError(f"{file} holds no predictions: {error}") from error
    return Predictions([row[0] for row in rows], keys, scored)
