"""All that a training needs to go on after an interruption as if there had been none."""

import math
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from model.architectures import Classifier
from train.averaging import WeightAverage
from train.checkpoint import load_checkpoint, save_checkpoint
from train.distributed import World
from train.recipe import Monitor


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch.

    `train_loss` is what was lowered, `val_loss` the mean negative log-likelihood; `val_auroc` is
    the mean over the classes, each against the rest, and None where there is only one class.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_macro_f1: float
    val_balanced_accuracy: float
    val_accuracy: float
    val_auroc: float | None
    learning_rate: float
    seconds: float
    monitor: Monitor = "macro_f1"

    @property
    def score(self) -> tuple[float, float]:
        """The larger, the better: the monitored figure, and among equals the loss decides."""
        if self.monitor == "val_loss":
            return -self.val_loss, 0.0
        value: float | None = getattr(self, f"val_{self.monitor}")
        return -math.inf if value is None else value, -self.val_loss

    @property
    def figures(self) -> dict[str, float]:
        """All numbers of the epoch by name."""
        others = ("epoch", "monitor")
        return {k: v for k, v in asdict(self).items() if k not in others and v is not None}


@dataclass
class Position:
    """Where a training stands.

    Attributes:
        epoch: the current one, from 1.
        step: steps done in it.
        order: order of the training images in it; None before its first step.
        total: sum of the mean losses of its batches.
        seconds: time spent in it by processes that have ended.
        history: the epochs before.
    """

    epoch: int = 1
    step: int = 0
    order: Tensor | None = None
    total: float = 0.0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)

    @property
    def since_best(self) -> int:
        """Epochs since the best one, which is the first with its score."""
        scores = [epoch.score for epoch in self.history]
        return len(scores) - 1 - scores.index(max(scores)) if scores else 0

    def next_epoch(self, epoch: Epoch) -> "Position":
        """The beginning of the epoch after the one that has just ended."""
        return Position(self.epoch + 1, history=[*self.history, epoch])


@dataclass
class State:
    """Everything that a step changes.

    Attributes:
        identity: of what is trained on what and how; another training's state is of no use.
        generator: draws the order of images, the same on every process, and their augmentation.
        average: of the network's weights, where one is taken.
        changes: draws the augmentation of this process's images; alone, it is `generator`.
        world: the processes that train together. All else is the same on each of them, but for the
            generators of the libraries, for dropout.
        at: where the training stands.
    """

    identity: str
    network: Classifier
    optimiser: Optimizer
    scaler: GradScaler
    generator: torch.Generator
    average: WeightAverage | None = None
    changes: torch.Generator | None = None
    world: World = field(default_factory=World)
    at: Position = field(default_factory=Position)

    @property
    def judged(self) -> Classifier:
        """The network that is validated and kept: the average where there is one."""
        return self.network if self.average is None else self.average.network

    @property
    def _own(self) -> torch.Generator:
        return self.generator if self.changes is None else self.changes

    def save(self, file: Path, started: float) -> None:
        """Write the state; the current process has worked on the epoch since `started`.

        All processes take part, and rank 0 writes.
        """
        own = _global_generators() | {"changes": self._own.get_state()}
        generators = self.world.gather(own)
        if not self.world.main:
            return
        at = asdict(self.at) | {"seconds": self.at.seconds + time.monotonic() - started}
        save_checkpoint(
            file,
            {
                "identity": self.identity,
                "model": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "generator": self.generator.get_state(),
                "generators": generators,
                "at": at,
            },
        )

    def restore(self, file: Path) -> None:
        """Take over a state that :meth:`save` has written for the same training.

        Rank 0 reads it. What each process draws for itself is taken over only from as many others
        as there are processes now.
        """
        saved = self.world.made_by_main(lambda: load_checkpoint(file))
        self.network.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.generator.set_state(saved["generator"])
        if len(saved["generators"]) == self.world.size:
            own = saved["generators"][self.world.rank]
            _set_global_generators(own)
            self._own.set_state(own["changes"])
        history = [Epoch(**epoch) for epoch in saved["at"]["history"]]
        self.at = Position(**saved["at"] | {"history": history})


class Saved(NamedTuple):
    """Which training a state is of, and how many processes have written it."""

    identity: str
    processes: int


def read_saved(file: Path) -> Saved | None:
    """What a file with a state holds; None where there is none.

    Raises:
        RunError: it is no checkpoint.
    """
    if not file.is_file():
        return None
    state = load_checkpoint(file)
    return Saved(str(state.get("identity")), len(state.get("generators", [])))


class Stop:
    """Whether a signal has asked the training to stop: SIGTERM, or SIGUSR1 of a batch system."""

    def __init__(self) -> None:
        self.code: int | None = None

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self.code = 128 + number


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Notice the signals between two steps, where the state is whole."""
    stop = Stop()
    before = {
        number: signal.signal(number, stop._ask) for number in (signal.SIGTERM, signal.SIGUSR1)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            # Where something in the block has decided otherwise, that is left as it is.
            if signal.getsignal(number) == stop._ask:
                signal.signal(number, handler)


def _global_generators() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": random.getstate(),
        # Of plain values and tensors: checkpoints are read without unpickling anything else.
        "numpy": (name, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _set_global_generators(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
