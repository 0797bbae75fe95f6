"""What the process of a search and those of its trials tell each other, a line of JSON each."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from train.config import TrainConfig
from train.search.config import Scalar


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def line(self) -> bytes:
        return self.model_dump_json().encode() + b"\n"


class Setup(_Message):
    """What all trials have in common; sent once.

    Attributes:
        config: of which each trial changes some values.
        root: `data.root` with the secrets that a URL may have, and JSON leaves out.
        table: likewise `data.table`.
        study: directory with the decoded images and the split.
        objective: name of a figure of an epoch.
        parent: id of the tracked run that the trials are nested in.
    """

    config: TrainConfig
    root: str
    table: str | None
    study: Path
    objective: str
    parent: str | None


class Task(_Message):
    """One trial."""

    number: int
    directory: Path
    values: dict[str, Scalar]


class Answer(_Message):
    """To an epoch: whether the trial is worth going on with."""

    prune: bool


class Report(_Message):
    """From a trial.

    Attributes:
        kind: what has happened.
        epoch: that has ended, or whose weights are the trial's.
        epochs: that were trained.
        value: of the objective in `epoch`.
        error: why it failed.
    """

    kind: Literal["ready", "epoch", "done", "pruned", "failed"]
    epoch: int = 0
    epochs: int = 0
    value: float = 0.0
    error: str = ""
