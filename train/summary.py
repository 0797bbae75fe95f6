"""What a model card says about the data: counts, no names."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from train.data import Dataset, Part
from train.data.sample import PARTS
from train.leakage import Leakage


class PartSummary(BaseModel):
    """Counts of one part of the split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int
    patients: int
    images_per_class: dict[str, int]


class DataSummary(BaseModel):
    """Counts of a data set and of what was found wrong with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int
    patients: int
    skipped: int = Field(description="image files that were left out as unreadable")
    parts: dict[Part, PartSummary]
    leakage: dict[str, int] = Field(description="findings by kind")
    allowed: list[str] = Field(description="kinds of leakage that were accepted by name")


def summarise(
    data: Dataset, parts: Sequence[Part], leakage: Leakage, allowed: Sequence[str]
) -> DataSummary:
    """Count a data set and its split.

    Args:
        data: the images.
        parts: the part of each.
        leakage: what fit has found.
        allowed: kinds of leakage that the configuration accepts.
    """
    found = {}
    for part in PARTS:
        inside = [s for s, each in zip(data.samples, parts, strict=True) if each == part]
        found[part] = PartSummary(
            images=len(inside),
            patients=len({sample.group for sample in inside}),
            images_per_class={
                info.key: sum(sample.label == k for sample in inside)
                for k, info in enumerate(data.classes)
            },
        )
    return DataSummary(
        images=len(data.samples),
        patients=len({sample.group for sample in data.samples}),
        skipped=len(data.skipped),
        parts=found,
        leakage={kind: len(lines) for kind, lines in leakage},
        allowed=list(allowed),
    )
