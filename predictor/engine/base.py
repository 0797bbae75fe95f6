"""What an engine is: something that runs one artefact of a bundle on one device."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from model.manifest import Precision

Batch = npt.NDArray[np.uint8]
Device = Literal["cpu", "cuda"]


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
    def device(self) -> Device: ...

    def run(self, images: Batch, *, want_cam: bool) -> EngineOutput:
        """Answer uint8 [B, H, W, 3] of the bundle's size, for any B >= 1.

        The answers are the caller's: a later run does not change them.
        """

    def close(self) -> None:
        """Free what the artefact holds; the engine is not used again."""


class EngineKind(Protocol):
    """A runtime that can open artefacts: what is registered in `predictor.engine`."""

    @property
    def artefacts(self) -> Mapping[Precision, str]:
        """File of the bundle for each precision that this runtime reads."""

    @property
    def devices(self) -> tuple[Device, ...]:
        """Where it can run at all, the fastest first."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions decide how fast and how exact it is."""

    def unavailable(self, device: Device) -> str | None:
        """Why the runtime has nothing to run on here, or None if it is worth a try.

        Answers without importing the runtime, which may take seconds.
        """

    def open(
        self,
        file: Path,
        precision: Precision,
        threads: int,
        device: Device = "cpu",
        cache: Path | None = None,
    ) -> Engine:
        """Load an artefact.

        Args:
            file: the artefact.
            precision: what it holds.
            threads: most threads to compute with on a CPU.
            device: where to; never anywhere else instead.
            cache: a writable directory that outlives this process, for compiled graphs.

        Raises:
            Exception: whatever the runtime raises for a file or a device that it cannot use.
        """


def not_installed(package: str) -> str | None:
    """Why a package cannot be imported, as far as that shows without importing it."""
    try:
        found = find_spec(package) is not None
    except ImportError:
        found = False
    return None if found else f"{package} is not installed"
