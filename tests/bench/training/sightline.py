"""Our loop itself, as the step `fit` calls it, an epoch at a time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from model.architectures import build
from model.image import decode
from tests.bench.training.task import Task
from tests.bench.training.turns import Step, Turns
from train.config import TrainConfig
from train.data import Dataset, load_dataset
from train.device import seed_everything
from train.loop import Progress, fit
from train.memory import keep_freed_memory
from train.phantom import CLASSES
from train.state import Epoch


def run(task: Task, turns: Turns) -> None:
    keep_freed_memory()
    config = configuration(task)
    seed_everything(config.seed)
    network = build(task.network, len(CLASSES), task.options)
    # The first epoch pays for the decoding, as it does for everybody.
    turns.begin()
    data = load_dataset(config.data, config.output / "cache")
    if task.decode_always:
        data = replace(data, images=cast("npt.NDArray[np.uint8]", _Files(data, config)))
    parts = np.array([sample.part for sample in data.samples])
    train, val = (np.flatnonzero(parts == part) for part in ("train", "val"))
    epoch = [1]

    def on_step(done: int, steps: int) -> None:
        if task.checkpoint_s is not None:
            turns.tell(Step(epoch[0], done))
        if done == steps:
            turns.trained(steps * task.batch)

    def on_epoch(figures: Epoch, improved: bool) -> None:
        epoch[0] += 1
        turns.end(figures.val_macro_f1)
        turns.begin()

    fit(network, data, train, val, config, Progress(on_step, on_epoch))


def configuration(task: Task) -> TrainConfig:
    """The configuration of a task; what it does not say is as it is by default."""
    return TrainConfig.model_validate(tree(task))


def tree(task: Task) -> dict[str, Any]:
    """The same, as a YAML file would give it."""
    loop = {
        "epochs": task.epochs,
        "patience": task.epochs,
        "batch_size": task.batch,
        "learning_rate": task.learning_rate,
        "warmup_epochs": task.warmup_epochs,
        "device": task.device,
        "amp": "auto" if task.amp else "off",
        "compile": task.compiled,
        "checkpoint_minutes": 10.0 if task.checkpoint_s is None else task.checkpoint_s / 60.0,
    }
    return {
        "name": "bench",
        "output": str(Path(task.scratch).resolve()),
        "data": {
            "root": task.root,
            "classes": [info.model_dump(mode="json") for info in CLASSES],
            "decode": {"width_px": task.side_px, "height_px": task.side_px},
            # Small phantoms look alike; what is measured does not depend on it.
            "split": {"allow": ["near_duplicates", "contradictions"]},
        },
        "model": {"architecture": task.network, "options": task.options},
        "augment": {} if task.augment else {"preset": "none"},
        "loop": loop,
        "tracking": {"uri": f"sqlite:///{Path(task.scratch).resolve() / 'mlflow.db'}"},
    }


class _Files:
    """Stands for the decoded images, and decodes the files whenever it is asked for some."""

    def __init__(self, data: Dataset, config: TrainConfig) -> None:
        self._files = [Path(config.data.root) / sample.file for sample in data.samples]
        self._rule = config.data.decode
        self._pool = ThreadPoolExecutor()

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, positions: Sequence[int]) -> npt.NDArray[np.uint8]:
        return np.stack(list(self._pool.map(self._decode, positions)))

    def _decode(self, position: int) -> npt.NDArray[np.uint8]:
        return decode(self._files[position].read_bytes(), self._rule).pixels
