"""Images of the test split with what the network looked at."""

import base64
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.overlay import blend
from train.assessment import Scored
from train.assessment.scored import Ints
from train.inference import Answers
from train.run import Run

Kind = Literal["correct", "mistaken", "indeterminate"]

_LONGEST_SIDE_PX = 256
_QUALITY = 82
_ID = 8


@dataclass(frozen=True)
class Picture:
    """One test image.

    Attributes:
        name: the first digits of its file's SHA-256, which `data.csv` of the run has: a name of a
            file might be that of a patient.
        label: true class.
        predicted: most probable class.
        confidence: its probability.
        image: data URI of the image.
        overlay: the same with the map of the predicted class.
        overlay_of_label: the same with that of the true class, where it is another.
    """

    name: str
    label: int
    predicted: int
    confidence: float
    image: str
    overlay: str
    overlay_of_label: str | None


@dataclass(frozen=True)
class Gallery:
    """Chosen images: correct by class, mistaken and Indeterminate."""

    correct: dict[int, list[Picture]]
    mistaken: list[Picture]
    indeterminate: list[Picture]
    mistaken_of: int
    indeterminate_of: int


def make_gallery(
    run: Run, scored: Scored, answers: Answers, indeterminate_below: float, most: int
) -> Gallery:
    """Choose and draw.

    Mistakes begin with the surest, Indeterminate images with the least sure. Correct ones are
    spread evenly from the surest to the least sure: the best alone would flatter.

    Args:
        run: whose test split was asked.
        scored: the answers beside the truth, N images.
        answers: the same with the maps of all classes, [N, K, h, w].
        indeterminate_below: confidence under which no answer is given.
        most: images of each kind.
    """
    decided = scored.confidence >= indeterminate_below
    surest = np.argsort(-scored.confidence, kind="stable")
    mistaken = surest[(decided & ~scored.correct)[surest]]
    indeterminate = surest[~decided[surest]][::-1]

    def draw(positions: Ints) -> list[Picture]:
        return [_picture(run, scored, answers, int(position)) for position in positions]

    correct = {}
    for k in range(scored.classes):
        members = surest[(decided & scored.correct & (scored.labels == k))[surest]]
        spread = np.linspace(0, len(members) - 1, min(most, len(members))).round().astype(int)
        correct[k] = draw(members[spread])
    return Gallery(
        correct=correct,
        mistaken=draw(mistaken[:most]),
        indeterminate=draw(indeterminate[:most]),
        mistaken_of=len(mistaken),
        indeterminate_of=len(indeterminate),
    )


def _picture(run: Run, scored: Scored, answers: Answers, position: int) -> Picture:
    sample = int(run.indices("test")[position])
    image = np.asarray(run.data.images[sample])
    label, predicted = int(scored.labels[position]), int(scored.predicted[position])
    maps = answers.cam[position]
    return Picture(
        name=run.data.hashes[sample][:_ID],
        label=label,
        predicted=predicted,
        confidence=float(scored.confidence[position]),
        image=_uri(image),
        overlay=_uri(blend(image, maps[predicted])),
        overlay_of_label=None if label == predicted else _uri(blend(image, maps[label])),
    )


def _uri(image: npt.NDArray[np.uint8]) -> str:
    picture = Image.fromarray(image)
    picture.thumbnail((_LONGEST_SIDE_PX, _LONGEST_SIDE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
