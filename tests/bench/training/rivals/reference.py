"""A loop in the style of torchvision's reference for classification.

Files are decoded by Pillow and augmented image by image in the loader's processes; images become
floats and are normalised there. The network is in the default memory format.
"""

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from model.architectures import build
from model.explain import IMAGE_MEAN, IMAGE_STD
from tests.bench.training.rivals import WEIGHT_DECAY, judge
from tests.bench.training.source import CLASS_KEYS
from tests.bench.training.task import Task
from tests.bench.training.turns import Turns

_VAL_ENLARGED = 256 / 224


def run(task: Task, turns: Turns) -> None:
    device = torch.device(task.device)
    train, val = _loaders(task)
    network = build(task.network, len(CLASS_KEYS), task.options).to(device)
    criterion = nn.CrossEntropyLoss()
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=task.learning_rate, weight_decay=WEIGHT_DECAY
    )
    schedule = _schedule(optimiser, task)
    scaler = torch.amp.GradScaler(device.type) if task.amp else None
    while True:
        turns.begin()
        network.train()
        losses = correct = images = 0.0
        for image, target in train:
            image = image.to(device, non_blocking=True)
            target = target.to(device, non_blocking=True)
            with torch.autocast(device.type, torch.float16, enabled=task.amp):
                output = network(image)
                loss = criterion(output, target)
            optimiser.zero_grad()
            if scaler is not None:
                scaler.scale(loss).backward()
                scaler.step(optimiser)
                scaler.update()
            else:
                loss.backward()
                optimiser.step()
            # What its meters show while it runs.
            losses += loss.item()
            correct += (output.argmax(1) == target).sum().item()
            images += len(image)
        schedule.step()
        turns.trained(int(images))
        turns.end(judge(network, val, device) if task.judged else None)


def _loaders(task: Task) -> tuple[DataLoader[Any], ...]:
    """For training, and for validation."""
    to_float = [
        T.PILToTensor(),
        T.ConvertImageDtype(torch.float),
        T.Normalize(IMAGE_MEAN, IMAGE_STD),
    ]
    crop = T.RandomResizedCrop(task.side_px, scale=(task.least_area, 1.0), antialias=True)
    changed = T.Compose([crop, T.RandomHorizontalFlip(0.5), *to_float])
    enlarged = T.Resize(round(task.side_px * _VAL_ENLARGED), antialias=True)
    unchanged = T.Compose([enlarged, T.CenterCrop(task.side_px), *to_float])
    return tuple(
        DataLoader(
            ImageFolder(f"{task.root}/{part}", transform),
            task.batch,
            shuffle=part == "train",
            drop_last=part == "train",
            num_workers=task.workers,
            pin_memory=task.device == "cuda",
            # The reference starts its workers anew in each epoch; kept, it is faster.
            persistent_workers=task.workers > 0,
        )
        for part, transform in (("train", changed), ("val", unchanged))
    )


def _schedule(
    optimiser: torch.optim.Optimizer, task: Task
) -> torch.optim.lr_scheduler.SequentialLR:
    """Linear warm-up, then a cosine, by the epoch."""
    warmup = torch.optim.lr_scheduler.LinearLR(
        optimiser, start_factor=0.01, total_iters=task.warmup_epochs
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, T_max=task.epochs - task.warmup_epochs
    )
    return torch.optim.lr_scheduler.SequentialLR(optimiser, [warmup, cosine], [task.warmup_epochs])
