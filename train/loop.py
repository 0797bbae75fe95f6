"""The training loop, read from top to bottom."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from model.architectures import Classifier
from model.explain import normalise
from train.augment import augment
from train.checkpoint import BEST, LAST, remove_partial, save_checkpoint
from train.config import LoopConfig, TrainConfig
from train.data import Dataset
from train.errors import ConfigError, TrainingError
from train.inference import logits_of
from train.metrics import macro_f1
from train.state import Epoch, State, stop_on_signals


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
    steps = steps_per_epoch(len(train), loop)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = AdamW(_parameter_groups(network, loop), lr=loop.learning_rate)
    schedule = LambdaLR(optimiser, lambda step: _learning_rate_factor(step, steps, loop))
    amp = loop.amp == "auto" and device.type == "cuda"
    half = (
        torch.bfloat16
        if amp and torch.cuda.is_bf16_supported(including_emulation=False)
        else torch.float16
    )
    # bfloat16 has the range of float32 and needs no loss scaling; float16 does.
    scaler = torch.amp.GradScaler(device.type, enabled=amp and half is torch.float16)
    generator = torch.Generator().manual_seed(config.seed)
    labels = torch.from_numpy(data.labels)
    last = config.output / LAST
    remove_partial(config.output)
    state = State(identity, network, optimiser, schedule, scaler, generator)
    if resume:
        state.restore(last)
    saved = time.monotonic()
    with stop_on_signals() as stop:
        while state.at.epoch <= loop.epochs and state.at.since_best < loop.patience:
            at, started = state.at, time.monotonic()
            network.train()
            if at.order is None:
                at.order = torch.randperm(len(train), generator=generator)
            while at.step < steps:
                first = at.step * loop.batch_size
                chosen = np.sort(train[at.order[first : first + loop.batch_size].numpy()])
                image = torch.from_numpy(data.images[chosen]).to(device)
                target = labels[chosen].to(device)
                x = normalise(augment(image, config.augment, generator))
                with torch.autocast(device.type, dtype=half, enabled=amp):
                    logits = network(x.contiguous(memory_format=torch.channels_last))
                    loss = F.cross_entropy(logits, target, label_smoothing=loop.label_smoothing)
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise TrainingError(
                        f"the loss is {value} in epoch {at.epoch}, step {at.step + 1}; "
                        f"a lower loop.learning_rate than {loop.learning_rate} may help"
                    )
                optimiser.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.unscale_(optimiser)
                nn.utils.clip_grad_norm_(network.parameters(), loop.clip_norm)
                scaler.step(optimiser)
                scaler.update()
                schedule.step()
                at.total += value
                at.step += 1
                progress.on_step(at.step, steps)
                due = time.monotonic() - saved >= loop.checkpoint_minutes * 60.0
                if due or stop.code is not None:
                    state.save(last, started)
                    saved = time.monotonic()
                if stop.code is not None:
                    raise SystemExit(stop.code)
            val_logits = logits_of(network, data.images[val], device)
            val_labels = data.labels[val]
            epoch = Epoch(
                epoch=at.epoch,
                train_loss=at.total / steps,
                val_loss=_negative_log_likelihood(val_logits, val_labels),
                val_macro_f1=macro_f1(val_labels, val_logits.argmax(1), len(data.classes)),
                learning_rate=float(schedule.get_last_lr()[0]),
                seconds=at.seconds + time.monotonic() - started,
            )
            following = at.next_epoch(epoch)
            improved = following.since_best == 0
            if improved:
                save_checkpoint(
                    config.output / BEST, {"model": network.state_dict(), **asdict(epoch)}
                )
            progress.on_epoch(epoch, improved)
            # Last: killed before this, the next process repeats the end of the epoch, and all of it
            # comes out the same.
            state.at = following
            state.save(last, time.monotonic())
            saved = time.monotonic()
    return state.at.history


def steps_per_epoch(images: int, loop: LoopConfig) -> int:
    """Whole batches in an epoch; at least one is needed."""
    if images < loop.batch_size:
        raise ConfigError(
            f"loop.batch_size is {loop.batch_size}; there are only {images} training images"
        )
    return images // loop.batch_size


def choose_device(wanted: str) -> torch.device:
    """The device of a setting `auto`, `cpu` or `cuda`."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("loop.device is 'cuda', but no CUDA device is available; accepted: cpu")
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


def seed_everything(seed: int) -> None:
    """Seed every generator that training draws from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries draw from the legacy generator
    torch.manual_seed(seed)


def _parameter_groups(network: nn.Module, loop: LoopConfig) -> list[dict[str, object]]:
    # Biases and normalisation scales are not decayed: pulling them to zero helps nothing.
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": loop.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def _learning_rate_factor(step: int, steps_per_epoch: int, loop: LoopConfig) -> float:
    """Linear warm-up, then a cosine to zero, https://arxiv.org/abs/1608.03983."""
    warmup = loop.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    span = max(1.0, loop.epochs * steps_per_epoch - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warmup) / span)))


def _negative_log_likelihood(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> float:
    return float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))
