"""One labelled image, and the way to say what is wrong with many."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from model.image import SUFFIXES
from train.errors import DataError

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    Attributes:
        file: path relative to the data root, POSIX.
        label: index of the class.
        group: the patient (or lesion); all images of a group go to one split.
        mask: path of the lesion mask relative to the root, where there is one.
        part: split that the source puts it in, where the source says so.
        metadata: further columns of the table by name, for figures by slice.
    """

    file: str
    label: int
    group: str
    mask: str | None = None
    part: Part | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def is_image(name: str) -> bool:
    """Whether a file is looked at by its name."""
    return posixpath.splitext(name)[1].lower() in SUFFIXES


def refuse(problems: Sequence[str], what: str) -> None:
    """Raise a DataError that lists image files, if there are any."""
    if problems:
        raise DataError(f"{len(problems)} image files are {what}:{listed(problems)}")


def listed(lines: Sequence[str]) -> str:
    """The first few, a line each, and how many more there are."""
    more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return "".join(f"\n  {line}" for line in lines[:_SHOWN]) + more
