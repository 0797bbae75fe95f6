"""What `evaluate` finds out about a network: `evaluation.json`, on which the report rests."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from model.manifest import ClassInfo, Difference, Metrics, Quantisation
from train.assessment import Scored
from train.assessment.schema import Assessment, Part
from train.calibrate import calibrated
from train.config import TrainConfig, flatten
from train.inference import Answers
from train.reporting import CardConfig
from train.run import Run
from train.summary import DataSummary
from train.training import Training

EVALUATION = "evaluation.json"
# Where the run lies says nothing about the model, and an address may hold a password.
_PRIVATE = (
    "output",
    "data.root",
    "data.table",
    "data.split.file",
    "data.cache",
    "data.storage_options",
    "tracking",
    "evaluate.card",
)


class Export(Part):
    """What became of the network as it was exported."""

    quantisation: Quantisation
    parity: dict[str, Difference] = Field(description="of each artefact from the network")


class Evaluation(Part):
    """Everything that the report says, as `evaluation.json`.

    Readers may rely on the keys of a `schema_version`; a change that would mislead them raises it.
    """

    schema_version: Literal[2] = 2
    name: str
    created: datetime
    classes: list[ClassInfo]
    temperature: float
    metrics: Metrics = Field(description="the figures that the bundle's manifest has")
    assessment: Assessment
    intensity_baseline_macro_f1: float = Field(
        description="of a logistic regression on global intensity statistics"
    )
    cam_hit_rate: float | None = Field(
        description="share of correctly classified lesion images whose map peaks in the lesion mask"
    )
    data: DataSummary
    training: Training
    config: dict[str, Any] = Field(description="without paths and addresses")
    card: CardConfig
    export: Export | None = Field(default=None, description="null before the step export")


def public_config(config: TrainConfig) -> dict[str, Any]:
    """The configuration by key such as `loop.epochs`, without paths and addresses."""
    return {
        key: value
        for key, value in flatten(config).items()
        if not any(f"{key}.".startswith(f"{each}.") for each in _PRIVATE)
    }


def scored_of(run: Run, answers: Answers, temperature: float) -> Scored:
    """A network's answers for the test split, beside the truth.

    Args:
        run: whose test split was asked.
        answers: [N, ...].
        temperature: that its logits are divided by.
    """
    test = run.indices("test")
    groups = [run.data.samples[position].group for position in test]
    return Scored.of(run.data.labels[test], calibrated(answers.logits, temperature), groups)
