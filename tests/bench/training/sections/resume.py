"""How much work a kill costs, over the interval between two checkpoints."""

import random
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

from tests.bench.results import Samples
from tests.bench.training.contender import Loop
from tests.bench.training.goals import BASELINE
from tests.bench.training.measure import OURS, Bench
from tests.bench.training.turns import Step
from train.checkpoint import LAST, load_checkpoint

_EPOCHS = 1_000
_SEED = 7
_SMALLER_BATCH = 8


def measure(bench: Bench) -> None:
    """Kill a training at moments that it does not know of, and look at what it has kept."""
    setting = bench.scale.networks[BASELINE]
    # Short steps, and epochs that outlast the interval: each end of one is saved anyway.
    task = bench.task(
        setting,
        batch=max(2, setting.batch // _SMALLER_BATCH),
        epochs=_EPOCHS,
        checkpoint_s=bench.scale.checkpoint_s,
    )
    moments = random.Random(_SEED)
    samples = Samples()
    for number in range(bench.scale.kills):
        loop = bench.loop(OURS, task, f"kill {number + 1}")
        after_s = bench.scale.checkpoint_s * moments.uniform(1.5, 4.5)
        lost, step_s = _kill(bench, loop, after_s)
        samples.add("resume_waste", lost * step_s / bench.scale.checkpoint_s)
        bench.note(f"killed after {after_s:.2f} s: {lost} steps of {step_s:.3f} s lost")
    bench.keep(samples)


def _kill(bench: Bench, loop: Loop, after_s: float) -> tuple[int, float]:
    """Steps lost, and seconds of a step."""
    told: list[tuple[float, Step]] = []
    with bench.contender(loop) as contender:
        contender.go(_EPOCHS)
        for step in contender.steps():
            told.append((time.monotonic(), step))
            if told[-1][0] - told[0][0] >= after_s:
                break
        contender.kill()
        # What it had done by then may still be in the pipe.
        told += [(time.monotonic(), step) for step in contender.steps()]
    kept = load_checkpoint(Path(loop.task.scratch) / LAST)["at"]
    setting = bench.scale.networks[BASELINE]
    steps = setting.steps * setting.batch // loop.task.batch
    last = told[-1][1]
    lost = (last.epoch - kept["epoch"]) * steps + last.step - kept["step"]
    return lost, median(after - before for (before, _), (after, _) in pairwise(told))
