"""What is found in comparing runs, as `--json` writes it."""

from typing import Any, Literal

from pydantic import Field

from train.assessment.schema import Figure, Overall, Part

Verdict = Literal["better", "worse", "different", "no difference beyond noise", "cannot be told"]


class Difference(Part):
    """A figure of a run less that of the first, on the test images that both have."""

    first: float | None
    other: float | None
    difference: Figure
    verdict: Verdict


class SignFlips(Part):
    """The exact test of whether two runs are right about different numbers of images."""

    only_first_right: int
    only_other_right: int
    unit: str = Field(description="whose answers are exchanged: patient, or image")
    p_value: float


class Paired(Part):
    """A run against the first on the test images that both have."""

    images: int
    patients: int
    same_test_images: bool
    other_labels: int = Field(description="common images that are left out: the labels differ")
    confidence: float = Field(description="of the intervals, corrected for the number of runs")
    overall: dict[str, Difference]
    f1: dict[str, Difference] = Field(description="by class")
    auroc: dict[str, Difference] = Field(description="by class")
    accuracy_test: SignFlips


class DataChanges(Part):
    """Counts of what `data diff` lists."""

    added: int
    removed: int
    renamed: int
    pixels: int
    labels: int
    patients: int


class Contestant(Part):
    """One run."""

    letter: str
    name: str
    where: str = Field(description="the last part of the run's directory, or its MLflow id")
    architecture: str
    images: int
    patients: int
    confidence: float
    overall: Overall
    f1: dict[str, Figure]
    paired: Paired | None = Field(description="null for the first, or with a reason")
    unpaired_because: str | None = None
    data: DataChanges | None = Field(description="since the first; null where a list is missing")
    verdict: str


class Comparison(Part):
    """Several runs, compared with the first."""

    schema_version: Literal[1] = 1
    runs: list[Contestant]
    resamples: int
    seed: int
    config: dict[str, list[Any]] = Field(
        description="settings that differ, a value per run; null where a run has none"
    )
