"""What an engine is: something that runs one artefact of a bundle on one device."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from model.manifest import Precision

Batch = npt.NDArray[np.uint8]


class EngineOutput(NamedTuple):
    """The graph's answers to a batch.

    Attributes:
        logits: float32 [B, K].
        probabilities: float32 [B, K].
        cam: float32 [B, K, h, w], or None if it was not wanted.
    """

    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    cam: npt.NDArray[np.float32] | None


class Engine(Protocol):
    """A loaded artefact. Used by one thread at a time."""

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> Precision: ...

    @property
    def device(self) -> str: ...

    def run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
        """Answer uint8 [B, H, W, 3] of the bundle's size, for any B >= 1."""

    def close(self) -> None:
        """Free what the artefact holds; the engine is not used again."""


class EngineKind(Protocol):
    """A runtime that can open artefacts: what is registered in `predictor.engine`."""

    @property
    def artefacts(self) -> Mapping[Precision, str]:
        """File of the bundle for each precision that this runtime reads."""

    def unavailable(self) -> str | None:
        """Why the runtime cannot be used here, or None if it can."""

    def open(self, file: Path, precision: Precision, threads: int) -> Engine:
        """Load an artefact onto the best device at hand.

        Args:
            file: the artefact.
            precision: what it holds.
            threads: most threads to compute with on a CPU.

        Raises:
            Exception: whatever the runtime raises for a file that it cannot run.
        """
