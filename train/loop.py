"""The training loop, read from top to bottom."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from model.architectures import Classifier
from train.averaging import WeightAverage
from train.batches import Batches
from train.checkpoint import BEST, LAST, remove_partial, save_checkpoint
from train.compilation import compiled
from train.config import TrainConfig
from train.data import Dataset
from train.device import (
    Precision,
    choose_device,
    memory_format,
    seed_of_rank,
    set_determinism,
)
from train.distributed import World
from train.freezing import freeze_backbone
from train.imbalance import class_counts, class_weights
from train.inference import shared_logits_of
from train.losses import Loss
from train.optimisation import make_optimiser
from train.replica import Replica, synchronised
from train.schedule import Schedule
from train.state import Epoch, State, Stop, stop_on_signals
from train.step import Step
from train.validation import validation_figures


@dataclass(frozen=True)
class Progress:
    """What the loop tells while it runs; neither call may change anything."""

    on_step: Callable[[int, int], None]
    on_epoch: Callable[[Epoch, bool], None]
    say: Callable[[str], None] = lambda text: None


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
    world: World | None = None,
) -> list[Epoch]:
    """Train a network and leave its best and last state in the run directory.

    Several processes share each batch and the validation; the first of them writes.

    From its last state, an interrupted training goes on to the weights of one that was never
    interrupted. The best epoch is the one whose monitored figure is, and among equals the one with
    the lowest loss on validation.

    Args:
        network: untrained; its weights are changed.
        data: the decoded images.
        train: positions of the training images.
        val: positions of the validation images.
        config: the run.
        progress: told of every step and epoch.
        identity: of the training, kept in its state.
        resume: whether to go on from the last state that is there.
        world: the processes that train together; this one alone by default.

    Raises:
        ConfigError: a GPU is demanded and there is none, or the images fill no batch.
        TrainingError: the loss is no longer a number.
        SystemExit: a signal has asked to stop; the state is saved.
    """
    loop = config.loop
    set_determinism(loop.deterministic)
    world = world or World()
    device = choose_device(loop.device, world.launch)
    generator = torch.Generator().manual_seed(config.seed)
    changes = generator
    if not world.alone:
        changes = torch.Generator().manual_seed(seed_of_rank(config.seed, world.rank))
    batches = Batches(data, train, config, generator, changes, device, world.launch)
    network = synchronised(network, loop, world)
    network.to(device, memory_format=memory_format(loop))  # type: ignore[call-overload]
    optimiser = make_optimiser(network, loop)
    schedule = Schedule(optimiser, loop, batches.steps)
    precision = Precision.of(loop, device)
    average = None if loop.ema_decay is None else WeightAverage(network, loop.ema_decay)
    state = State(
        identity, network, optimiser, precision.scaler(), generator, average, changes, world
    )
    saver = _Saver(state, config.output / LAST, loop.checkpoint_minutes * 60.0)
    if world.main:
        remove_partial(config.output)
    if resume:
        state.restore(saver.file)
    counts = class_counts(data.labels[train], data.classes)
    loss = Loss.of(loop, class_weights(loop, counts, data.classes))
    module: nn.Module = network
    if loop.compile:
        module = compiled(network, batches.example(), precision, progress.say)
    step = Step(module, state, schedule, loss, precision, loop)
    replica = Replica(module, device, world)
    with stop_on_signals() as stop, world.watching():
        while state.at.epoch <= loop.epochs and state.at.since_best < loop.patience:
            started = time.monotonic()
            _train_epoch(step, replica, batches, progress, saver, stop)
            world.copy_buffers(state.judged)
            logits = shared_logits_of(state.judged, data.images, val, device, world)
            epoch = Epoch(
                epoch=state.at.epoch,
                train_loss=state.at.total / batches.count,
                **validation_figures(logits, data.labels[val]),
                learning_rate=max(group["lr"] for group in optimiser.param_groups),
                seconds=state.at.seconds + time.monotonic() - started,
                monitor=loop.monitor,
            )
            # What is decided by it, such as to stop early, is the same on every machine.
            epoch = world.broadcast(epoch)
            following = state.at.next_epoch(epoch)
            improved = following.since_best == 0
            if improved and world.main:
                save_checkpoint(
                    config.output / BEST, {"model": state.judged.state_dict(), **asdict(epoch)}
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
    step: Step,
    replica: Replica,
    batches: Batches,
    progress: Progress,
    saver: _Saver,
    stop: Stop,
) -> None:
    """Take the steps that are left of an epoch."""
    at, world, started = step.state.at, step.state.world, time.monotonic()
    step.module.train()
    freeze_backbone(step.state.network, at.epoch <= step.loop.freeze_epochs)
    step = replace(step, module=replica.prepared(batches.example))
    if at.order is None:
        at.order = batches.draw_order()
    while at.step < batches.steps:
        labels = batches.labels(at.order, at.step)
        number = (at.epoch - 1) * batches.steps + at.step
        size = step.loss.size(torch.cat(labels))
        part = step(number, batches.batches(at.order, at.step), size)
        progress.on_step(at.step + 1, batches.steps)
        loss, code, due = world.agree(part, stop.code, saver.due)
        step.check(loss)
        at.total += len(labels) * loss
        at.step += 1
        if due or code is not None:
            saver.save(started)
        if code is not None:
            raise SystemExit(code)
