"""What is said about one image, whatever protocol it is said in."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision on one image and, where it was asked for, its explanation.

    Attributes:
        label: key of the most probable class.
        confidence: its calibrated probability.
        risk: a level of the bundle's policy, or `Indeterminate`.
        probabilities: float32 [K].
        explained_class: key of the class that `cam` and `overlay` show; None without either.
        cam: float32 [h, w], >= 0, before upsampling.
        overlay: PNG.
        cams: float32 [K, h, w], the map of every class.
        display: PNG of the image as it was decoded, which `overlay` is drawn on.
        sha256: of the encoded file, or of raw pixels; None unless it is wanted for the request log.
    """

    label: str
    confidence: float
    risk: str
    probabilities: npt.NDArray[np.float32]
    explained_class: str | None = None
    cam: npt.NDArray[np.float32] | None = None
    overlay: bytes | None = None
    cams: npt.NDArray[np.float32] | None = None
    display: bytes | None = None
    sha256: str | None = None


@dataclass(slots=True)
class Timings:
    """Seconds that a request spent in each stage.

    `queue` and `infer` are those of the image that was answered last; with several batches
    `queue` so holds the batches before its own. `begun` is the `time.monotonic()` at which the
    first of them began; None if nothing had to be computed, and so there was no stage.
    """

    decode_s: float = 0.0
    queue_s: float = 0.0
    infer_s: float = 0.0
    encode_s: float = 0.0
    begun: float | None = None

    def stages(self) -> dict[str, float]:
        return {
            "decode": self.decode_s,
            "queue": self.queue_s,
            "infer": self.infer_s,
            "encode": self.encode_s,
        }

    def milliseconds(self) -> dict[str, float]:
        return {f"{stage}_ms": round(1e3 * value, 3) for stage, value in self.stages().items()}


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to a query, in the order of its images."""

    answers: Sequence[Answer]
    timings: Timings = field(default_factory=Timings)
