"""The map inside the graph against the `grad-cam` package, in process, image by image.

Ours are the maps of all classes with the prediction, theirs is the map of one class; each has all
CPUs, and they take turns. Run in a process of its own: `python -m tests.bench.serving.gradcam`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

_IMAGES = 20
_WARM_UPS = 3


@dataclass(frozen=True)
class Round:
    """Seconds per explained image, of one round."""

    ours_s: list[float]
    theirs_s: list[float]


def measure(architecture: str, bundle: Path, rounds: int) -> list[Round]:
    """Explain pictures in both ways."""
    made = subprocess.run(
        [sys.executable, "-m", __name__, architecture, str(bundle), str(rounds)],
        # Else torch's idle threads would go on spinning while it is the other's turn.
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=600.0,
    )
    return [Round(**each) for each in json.loads(made.stdout.splitlines()[-1])]


def main() -> None:
    import torch
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from model.architectures import build
    from model.bundle import Bundle
    from model.cpus import usable_cpus
    from model.explain import normalise
    from predictor.engine import ENGINES

    architecture, path, rounds = sys.argv[1:]
    bundle = Bundle.open(Path(path))
    kind = ENGINES["onnxruntime"]
    engine = kind.open(bundle.path / kind.artefacts["fp32"], "fp32", usable_cpus())
    images = bundle.reference().image
    classes = len(bundle.manifest.classes)
    network = build(architecture, classes, dict(bundle.manifest.architecture.options)).eval()
    with GradCAM(model=network, target_layers=[network.features]) as tool:

        def ours(number: int) -> None:
            engine.run(images[number % len(images)][None], want_cam=True)

        def theirs(number: int) -> None:
            tensor = normalise(torch.from_numpy(images[number % len(images)][None]))
            tool(input_tensor=tensor, targets=[ClassifierOutputTarget(number % classes)])

        for number in range(_WARM_UPS):
            ours(number)
            theirs(number)
        found = [
            Round(*([_seconds(way, number) for number in range(_IMAGES)] for way in (ours, theirs)))
            for _ in range(int(rounds))
        ]
    print(json.dumps([asdict(each) for each in found]))


def _seconds(way: Callable[[int], None], number: int) -> float:
    started = time.perf_counter()
    way(number)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
