"""The training loop, read from top to bottom."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from model.architectures import Classifier
from train.batches import Batches
from train.checkpoint import BEST, LAST, remove_partial, save_checkpoint
from train.config import TrainConfig
from train.data import Dataset
from train.device import Precision, choose_device
from train.inference import logits_of
from train.losses import make_loss, negative_log_likelihood
from train.metrics import macro_f1
from train.optimisation import make_optimiser, make_schedule
from train.state import Epoch, State, Stop, stop_on_signals
from train.step import Step


@dataclass(frozen=True)
class Progress:
    """What the loop tells while it runs; neither call may change anything."""

    on_step: Callable[[int, int], None]
    on_epoch: Callable[[Epoch, bool], None]


def fit(
    network: Classifier,
    data: Dataset,
    train: npt.NDArray[np.int64],
    val: npt.NDArray[np.int64],
    config: TrainConfig,
    progress: Progress,
    identity: str = "",
    *,
    resume: bool = False,
) -> list[Epoch]:
    """Train a network and leave its best and last state in the run directory.

    From its last state, an interrupted training goes on to the weights of one that was never
    interrupted. The best epoch is the one with the highest
    macro-F1 on validation, and among equals the one with the lowest loss.

    Args:
        network: untrained; its weights are changed.
        data: the decoded images.
        train: positions of the training images.
        val: positions of the validation images.
        config: the run.
        progress: told of every step and epoch.
        identity: of the training, kept in its state.
        resume: whether to go on from the last state that is there.

    Raises:
        ConfigError: a GPU is demanded and there is none, or the images fill no batch.
        TrainingError: the loss is no longer a number.
        SystemExit: a signal has asked to stop; the state is saved.
    """
    loop = config.loop
    device = choose_device(loop.device)
    generator = torch.Generator().manual_seed(config.seed)
    batches = Batches(data, train, config, generator, device)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = make_optimiser(network, loop)
    schedule = make_schedule(optimiser, loop, batches.steps)
    precision = Precision.of(loop, device)
    state = State(identity, network, optimiser, schedule, precision.scaler(), generator)
    saver = _Saver(state, config.output / LAST, loop.checkpoint_minutes * 60.0)
    remove_partial(config.output)
    if resume:
        state.restore(saver.file)
    step = Step(network, state, make_loss(loop), precision, loop)
    with stop_on_signals() as stop:
        while state.at.epoch <= loop.epochs and state.at.since_best < loop.patience:
            started = time.monotonic()
            _train_epoch(step, batches, progress, saver, stop)
            epoch = _validate(state, data, val, device, batches.steps, started)
            following = state.at.next_epoch(epoch)
            improved = following.since_best == 0
            if improved:
                save_checkpoint(
                    config.output / BEST, {"model": network.state_dict(), **asdict(epoch)}
                )
            progress.on_epoch(epoch, improved)
            # Last: killed before this, the next process repeats the end of the epoch, and all of it
            # comes out the same.
            state.at = following
            saver.save(time.monotonic())
    return state.at.history


class _Saver:
    """Writes the last state whenever the time between two saves is over."""

    def __init__(self, state: State, file: Path, every_s: float) -> None:
        self.file = file
        self._state = state
        self._every_s = every_s
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() - self._saved >= self._every_s

    def save(self, started: float) -> None:
        """Write the state; the current process has worked on the epoch since `started`."""
        self._state.save(self.file, started)
        self._saved = time.monotonic()


def _train_epoch(
    step: Step, batches: Batches, progress: Progress, saver: _Saver, stop: Stop
) -> None:
    """Take the steps that are left of an epoch."""
    at, started = step.state.at, time.monotonic()
    step.module.train()
    if at.order is None:
        at.order = batches.draw_order()
    while at.step < batches.steps:
        at.total += step(batches.batch(at.order, at.step))
        at.step += 1
        progress.on_step(at.step, batches.steps)
        if saver.due or stop.code is not None:
            saver.save(started)
        if stop.code is not None:
            raise SystemExit(stop.code)


def _validate(
    state: State,
    data: Dataset,
    val: npt.NDArray[np.int64],
    device: torch.device,
    steps: int,
    started: float,
) -> Epoch:
    """The figures of the epoch that has just been trained."""
    at = state.at
    logits, labels = logits_of(state.network, data.images[val], device), data.labels[val]
    return Epoch(
        epoch=at.epoch,
        train_loss=at.total / steps,
        val_loss=negative_log_likelihood(logits, labels),
        val_macro_f1=macro_f1(labels, logits.argmax(1), len(data.classes)),
        learning_rate=float(state.schedule.get_last_lr()[0]),
        seconds=at.seconds + time.monotonic() - started,
    )
