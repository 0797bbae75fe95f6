"""TorchScript on a GPU: images per second by batch size, with the map and without."""

import time
from statistics import median

import numpy as np

from predictor.engine import ENGINES
from predictor.engine.base import Batch, Engine
from tests.bench.recorder import say
from tests.bench.serving.ideal import Ideal
from tests.bench.serving.measure import Bench

_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_RUNS, _WARM_UPS = 20, 5


def measure(bench: Bench) -> None:
    """Left out, with a word, where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        say("  left out: torch finds no GPU")
        return
    bundle = bench.bundle(bench.scale.architectures[1])
    kind = ENGINES["torchscript"]
    engine = kind.open(bundle.path / kind.artefacts["fp32"], "fp32", 1, "cuda")
    image = bundle.reference().image
    for turn in range(bench.scale.rounds):
        for batch in _BATCHES:
            images = np.resize(image, (batch, *image.shape[1:]))
            for want_cam, seconds in _seconds(engine, images).items():
                sent = f"batch {batch}{' with cam' if want_cam else ''}"
                found = Ideal(batch / seconds, seconds, 0.0, 0.0)
                bench.alone(turn, "torchscript on GPU", sent, found)
    engine.close()


def _seconds(engine: Engine, images: Batch) -> dict[bool, float]:
    """Seconds of a batch without and with the map, in turns."""
    kept: dict[bool, list[float]] = {False: [], True: []}
    for run in range(_WARM_UPS + _RUNS):
        for want_cam, seconds in kept.items():
            started = time.perf_counter()
            # The answers are on the host when it returns, so nothing is left to wait for.
            engine.run(images, want_cam=want_cam)
            if run >= _WARM_UPS:
                seconds.append(time.perf_counter() - started)
    return {want_cam: median(seconds) for want_cam, seconds in kept.items()}
