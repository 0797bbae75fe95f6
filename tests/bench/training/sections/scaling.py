"""Two processes of one thread against one of them, and against one of two threads."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import yaml

from tests.bench.results import Samples
from tests.bench.training.contender import ROOT, Loop
from tests.bench.training.goals import RESNET18
from tests.bench.training.measure import OURS, Bench
from tests.bench.training.results import Row
from tests.bench.training.sightline import tree
from train.training import TRAINING

_EPOCHS = 4
_ONE, _TWO, _THREADS = "1 process of 1 thread", "2 processes of 1 thread", "1 process of 2 threads"
_LAUNCHED = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def measure(bench: Bench) -> None:
    """`fit` itself, started as the documentation says; epochs from the second on."""
    setting = bench.scale.networks[RESNET18]
    task = bench.task(setting, epochs=_EPOCHS)
    samples, threads = Samples(), Samples()
    for number in range(setting.rounds):
        speed = {
            detail: _speed(bench, bench.loop(OURS, task, detail), number, launcher, count)
            for detail, launcher, count in (
                (_ONE, (), 1),
                (_TWO, _LAUNCHED, 1),
                (_THREADS, (), 2),
            )
        }
        samples.add("ddp_2_scaling", speed[_TWO] / speed[_ONE])
        threads.add("ddp_2_over_2_threads", speed[_TWO] / speed[_THREADS])
    bench.keep(samples)
    bench.keep(threads)


def _speed(bench: Bench, loop: Loop, number: int, launcher: tuple[str, ...], threads: int) -> float:
    """Images per second of a whole `fit`, its validation included."""
    directory = Path(loop.task.scratch)
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "config.yaml"
    config.write_text(yaml.safe_dump(tree(loop.task)))
    command = [sys.executable, *launcher, "-m", "train", "fit", "--config", str(config)]
    done = subprocess.run(
        [*command, "loop.resume=never", "tracking.tracker=none"],
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"fit has failed: {done.stderr[-3000:]}")
    history = json.loads((directory / TRAINING).read_text())["history"]
    seconds: float = median(epoch["seconds"] for epoch in history[1:])
    setting = bench.scale.networks[RESNET18]
    speed = setting.batch * setting.steps / seconds
    bench.add(
        Row(
            bench.section,
            number,
            OURS,
            loop.task.network,
            loop.detail,
            "cpu",
            round(speed, 2),
            round(seconds, 3),
            None,
            0.0,
        )
    )
    return speed
