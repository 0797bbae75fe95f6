"""A classifier's probabilities beside the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scored:
    """Answers for N images of G patients.

    Attributes:
        labels: true classes, [N].
        probabilities: calibrated, [N, K].
        groups: number of each image's patient, 0 to G - 1, [N].
    """

    labels: Ints
    probabilities: Floats
    groups: Ints

    @classmethod
    def of(
        cls,
        labels: npt.NDArray[np.integer],
        probabilities: npt.NDArray[np.floating],
        groups: Sequence[str] | None = None,
    ) -> "Scored":
        """From names of patients; without them, each image is taken for a patient of its own."""
        number = (
            np.arange(len(labels))
            if groups is None
            else np.unique(np.array(groups, dtype=str), return_inverse=True)[1]
        )
        return cls(
            labels.astype(np.int64),
            probabilities.astype(np.float64).reshape(len(labels), -1),
            number.astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        return int(self.probabilities.shape[1])

    @cached_property
    def patients(self) -> int:
        return len(np.unique(self.groups))

    @cached_property
    def predicted(self) -> Ints:
        predicted: Ints = self.probabilities.argmax(axis=1).astype(np.int64)
        return predicted

    @cached_property
    def confidence(self) -> Floats:
        confidence: Floats = self.probabilities.max(axis=1)
        return confidence

    @cached_property
    def correct(self) -> Bools:
        correct: Bools = self.predicted == self.labels
        return correct

    def only(self, chosen: Bools | Ints) -> "Scored":
        """Those images, with the patients' numbers kept: a resample of patients fits both."""
        return Scored(self.labels[chosen], self.probabilities[chosen], self.groups[chosen])
