"""A loop in the style of timm's `train.py`, with timm's own loader, transforms and schedule.

Workers collate `uint8`; the loader normalises whole batches while it prefetches.
"""

from typing import Any

import torch
from timm.data import ImageDataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, NativeScaler
from torch import nn

from model.architectures import build
from model.explain import IMAGE_MEAN, IMAGE_STD
from tests.bench.training.rivals import WEIGHT_DECAY, judge
from tests.bench.training.source import CLASS_KEYS
from tests.bench.training.task import Task
from tests.bench.training.turns import Turns

_LOG_EVERY = 50


def run(task: Task, turns: Turns) -> None:
    device = torch.device(task.device)
    train, val = (_loader(task, device, part) for part in ("train", "val"))
    network = build(task.network, len(CLASS_KEYS), task.options).to(device)
    criterion = nn.CrossEntropyLoss()
    optimiser = create_optimizer_v2(
        network, opt="adamw", lr=task.learning_rate, weight_decay=WEIGHT_DECAY
    )
    schedule, _ = create_scheduler_v2(
        optimiser,
        sched="cosine",
        num_epochs=task.epochs,
        warmup_epochs=task.warmup_epochs,
        warmup_lr=0.01 * task.learning_rate,
    )
    scaler = NativeScaler(device=device.type) if task.amp else None
    epoch = 0
    while True:
        turns.begin()
        network.train()
        losses = AverageMeter()
        images = 0
        for number, (image, target) in enumerate(train):
            with torch.autocast(device.type, torch.float16, enabled=task.amp):
                loss = criterion(network(image), target)
            if scaler is not None:
                scaler(loss, optimiser, parameters=network.parameters())
            else:
                loss.backward()
                optimiser.step()
            optimiser.zero_grad()
            images += len(image)
            if number % _LOG_EVERY == 0:
                losses.update(loss.item(), len(image))
        epoch += 1
        schedule.step(epoch)
        turns.trained(images)
        turns.end(judge(network, val, device) if task.judged else None)


def _loader(task: Task, device: torch.device, part: str) -> Any:
    training = part == "train"
    return create_loader(
        ImageDataset(f"{task.root}/{part}"),
        input_size=(3, task.side_px, task.side_px),
        batch_size=task.batch,
        is_training=training,
        scale=(task.least_area, 1.0),
        # As its `train.py` has it.
        interpolation="random" if training else "bilinear",
        mean=IMAGE_MEAN,
        std=IMAGE_STD,
        num_workers=task.workers,
        device=device,
        pin_memory=task.device == "cuda",
    )
