"""The arithmetic alone: forward, backward and step on one batch that is there already."""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from model.architectures import build
from model.explain import normalise
from model.image import DecodeRule, decode
from tests.bench.training.sightline import configuration
from tests.bench.training.source import CLASS_KEYS
from tests.bench.training.task import Task
from tests.bench.training.turns import Turns
from train.device import Precision, memory_format
from train.memory import keep_freed_memory
from train.optimisation import make_optimiser


def run(task: Task, turns: Turns) -> None:
    """In our memory format, with our optimiser, precision and way with memory."""
    keep_freed_memory()
    device = torch.device(task.device)
    loop = configuration(task).loop
    network = build(task.network, len(CLASS_KEYS), task.options)
    layout = memory_format(loop)
    network.to(device, memory_format=layout)  # type: ignore[call-overload]
    optimiser = make_optimiser(network, loop)
    precision = Precision.of(loop, device)
    scaler = precision.scaler()
    files = sorted(Path(task.root, "train").glob("*/*.jpg"))
    rule = DecodeRule(width_px=task.side_px, height_px=task.side_px)
    pixels = np.stack([decode(file.read_bytes(), rule).pixels for file in files[: task.batch]])
    x = normalise(torch.from_numpy(pixels).to(device)).contiguous(memory_format=layout)
    target = torch.arange(len(x), device=device) % len(CLASS_KEYS)
    steps = len(files) // task.batch
    network.train()
    while True:
        turns.begin()
        for _ in range(steps):
            with precision.autocast():
                loss = F.cross_entropy(network(x), target, label_smoothing=loop.label_smoothing)
            optimiser.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimiser)
            scaler.update()
        turns.trained(steps * task.batch)
        turns.end()
