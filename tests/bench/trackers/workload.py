"""The run that every tracker records: the same network and images, figures at every step."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from model.architectures import build

Log = Callable[[dict[str, float], int], None]

FIGURES = 5
_CLASSES = 3
_BATCH = 16
_SIDE_PX = 96


@dataclass(frozen=True)
class Workload:
    """How much of it.

    Attributes:
        steps: of training, with five figures logged at each.
        warm_up: steps before, with none.
        artefact_mb: size of the artefact, about that of a bundle.
    """

    steps: int = 200
    warm_up: int = 20
    artefact_mb: int = 30

    def train(self, log: Log) -> float:
        """Seconds that the steps took, by the clock."""
        torch.manual_seed(0)
        network = build("baseline", _CLASSES, {"depth": 3, "width": 16})
        network.train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
        images = torch.rand(_BATCH, 3, _SIDE_PX, _SIDE_PX)
        labels = torch.arange(_BATCH) % _CLASSES
        started = 0.0
        for step in range(-self.warm_up, self.steps):
            if step == 0:
                started = time.perf_counter()
            loss = F.cross_entropy(network(images), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            if step >= 0:
                # All differ from step to step, as they do in a training.
                value = float(loss.detach())
                log(
                    {
                        "loss": value,
                        "gradient_norm": float(norm),
                        "learning_rate": 1e-3 / (step + 1),
                        "images_per_second": _BATCH / (step + 1),
                        "perplexity": 2.0**value,
                    },
                    step,
                )
        return time.perf_counter() - started

    def artefact(self, directory: Path) -> Path:
        """A folder of three files that do not compress, one of them large, as a bundle has."""
        folder = directory / "bundle"
        folder.mkdir(parents=True)
        noise = torch.Generator().manual_seed(0)
        for name, share in (("model.onnx", 0.6), ("model.ts", 0.35), ("report.png", 0.05)):
            size = int(share * self.artefact_mb * 1e6)
            content = torch.randint(0, 256, (size,), dtype=torch.uint8, generator=noise)
            (folder / name).write_bytes(content.numpy().tobytes())
        return folder
