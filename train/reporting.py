"""Settings of the evaluation and of its report; the weights depend on none of them."""

import itertools
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from train.section import Section


def _named_column(value: object) -> object:
    """The name of a column alone stands for its slices."""
    return {"column": value} if isinstance(value, str) else value


class SliceConfig(Section):
    """A metadata column whose values the test images are told apart by."""

    column: str = Field(min_length=1, description="a column of data.table")
    edges: list[float] = Field(
        default=[], description="where bands of numbers meet, ascending: [40, 60] gives three"
    )
    quantiles: int | None = Field(
        default=None,
        ge=2,
        le=10,
        description="bands of as many images each; without edges, numbers get four",
    )

    @model_validator(mode="after")
    def _bands(self) -> "SliceConfig":
        if self.edges and self.quantiles is not None:
            raise ValueError("edges and quantiles are two ways to cut bands; give one")
        if any(high <= low for low, high in itertools.pairwise(self.edges)):
            raise ValueError(f"edges are {self.edges}; they must ascend")
        return self


class CardConfig(Section):
    """What a model card says that no figure tells."""

    intended_use: str | None = Field(default=None, description="for what, and by whom")
    population: str | None = Field(default=None, description="whose images these are")
    limits: list[str] = Field(default=[], description="known limits, a sentence each")
    contact: str | None = Field(default=None, description="who answers for the model")


class EvaluateConfig(Section):
    """What is found out about a trained network, and what the report shows."""

    resamples: int = Field(
        default=1000, ge=100, le=10_000, description="of the patients, for confidence intervals"
    )
    confidence: float = Field(default=0.95, ge=0.5, lt=1.0, description="of the intervals")
    specificities: list[Annotated[float, Field(gt=0.0, lt=1.0)]] = Field(
        default=[0.90, 0.95], description="at which the sensitivity of each class is given"
    )
    slices: list[Annotated[SliceConfig, BeforeValidator(_named_column)]] = Field(
        default=[],
        description="metadata columns, by name or as {column, edges} or {column, quantiles}",
    )
    min_slice_images: int = Field(
        default=30, ge=5, description="a slice with fewer test images is marked as too small"
    )
    gallery: int = Field(
        default=6,
        ge=0,
        le=24,
        description="images shown of each kind (correct by class, mistaken, Indeterminate); "
        "0: the report holds no image of a patient",
    )
    card: CardConfig = CardConfig()
