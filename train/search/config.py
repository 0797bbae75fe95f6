"""The settings of a search; a file of their own, since no model depends on them."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from train.config import load_settings
from train.section import Section

SEARCH_PREFIX = "SIGHTLINE_SEARCH_"
OVERRIDE = "search."

Scalar = bool | int | float | str | None
Direction = Literal["maximize", "minimize"]


class FloatRange(Section):
    """Real numbers from `low` to `high`."""

    type: Literal["float"]
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    log: bool = Field(default=False, description="draw the logarithm evenly")
    step: float | None = Field(default=None, gt=0.0, description="only low, low + step, ...")

    @model_validator(mode="after")
    def _ordered(self) -> "FloatRange":
        _check_range(self.low, self.high, self.log, self.step is not None)
        return self


class IntRange(Section):
    """Whole numbers from `low` to `high`."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = Field(default=False, description="draw the logarithm evenly")
    step: int = Field(default=1, ge=1, description="only low, low + step, ...")

    @model_validator(mode="after")
    def _ordered(self) -> "IntRange":
        _check_range(self.low, self.high, self.log, self.step != 1)
        return self


class Choice(Section):
    """One of several values without an order."""

    type: Literal["categorical"]
    choices: list[Scalar] = Field(min_length=1)

    @model_validator(mode="after")
    def _different(self) -> "Choice":
        if len({repr(value) for value in self.choices}) < len(self.choices):
            raise ValueError("a choice is there twice")
        return self


Parameter = Annotated[FloatRange | IntRange | Choice, Field(discriminator="type")]


class PrunerConfig(Section):
    """When a trial that does worse than the others is given up."""

    type: Literal["median", "hyperband", "none"] = "median"
    startup_trials: int = Field(
        default=5, ge=0, description="median: trials that end before any is given up"
    )
    warmup_epochs: int = Field(
        default=3, ge=0, description="median: epochs that every trial may have; hyperband: at least"
    )
    reduction_factor: int = Field(
        default=3, ge=2, description="hyperband: one of so many trials goes on to the next rung"
    )


class SearchConfig(Section):
    """What is searched, how, for how long, and where the study is kept."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$",
        description="of the study; the same name and storage go on with it, from anywhere",
    )
    output: Path = Field(description="directory of the study: trials, table, plots, best.yaml")
    space: dict[str, Parameter] = Field(
        min_length=1, description="by key of the configuration, such as loop.learning_rate"
    )
    objective: str = Field(
        default="val_macro_f1", description="a figure of the validation split, at the best epoch"
    )
    direction: Literal["auto", "maximize", "minimize"] = Field(
        default="auto", description="auto: losses and errors down, everything else up"
    )
    sampler: Literal["tpe", "grid", "random"] = "tpe"
    startup_trials: int = Field(
        default=10, ge=1, description="tpe: trials drawn at random before it learns from them"
    )
    seed: int = Field(default=0, ge=0, lt=2**31)
    pruner: PrunerConfig = PrunerConfig()
    trials: int | None = Field(
        default=None, ge=1, description="in the whole study; a grid has its own number"
    )
    time_limit_minutes: float | None = Field(
        default=None, gt=0.0, description="of this command, after which no trial is begun"
    )
    jobs: int | Literal["auto"] = Field(
        default="auto", description="trials at once; auto: one per GPU, or up to 8 on the CPU cores"
    )
    storage: str | None = Field(
        default=None,
        description="database URL, for several Jobs; else study.db in `output`",
    )
    heartbeat_s: int = Field(
        default=30, ge=1, description="between signs of life; after four missed a trial is retried"
    )
    retries: int = Field(
        default=2, ge=0, description="of a trial whose process was ended from outside"
    )
    max_failures: int = Field(
        default=10, ge=1, description="failed trials in a row after which the search gives up"
    )
    keep: Literal["best", "all", "none"] = Field(
        default="best", description="whose checkpoints stay on disk"
    )

    @model_validator(mode="after")
    def _bounded(self) -> "SearchConfig":
        if self.sampler != "grid" and self.trials is None and self.time_limit_minutes is None:
            raise ValueError("set trials, time_limit_minutes or both; the search would not end")
        if self.jobs != "auto" and self.jobs < 1:
            raise ValueError(f"jobs is {self.jobs}; accepted: auto, or a number from 1")
        return self

    @property
    def directory(self) -> Path:
        """Absolute, since workers and best.yaml are used from elsewhere."""
        return self.output.resolve()

    @property
    def towards(self) -> Direction:
        if self.direction != "auto":
            return self.direction
        return "minimize" if any(w in self.objective for w in _LESS_IS_BETTER) else "maximize"


_LESS_IS_BETTER = ("loss", "ece", "brier", "error")


def load_search(
    file: Path, overrides: Iterable[str] = (), environment: Mapping[str, str] = os.environ
) -> SearchConfig:
    """Read a search file; environment (`SIGHTLINE_SEARCH_TRIALS`) and `key=value` win over it.

    Raises:
        ConfigError: a key is unknown or its value wrong; names it and what is accepted.
    """
    return load_settings(SearchConfig, file, overrides, environment, SEARCH_PREFIX, "search")


def _check_range(low: float, high: float, log: bool, stepped: bool) -> None:
    if low > high:
        raise ValueError(f"low is {low}, above high, {high}")
    if log and low <= 0:
        raise ValueError(f"low is {low}; with log it must be above 0")
    if log and stepped:
        raise ValueError("log and step exclude each other")
