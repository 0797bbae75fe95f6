"""The in-process ideal: decode and infer on all CPUs, and nothing else.

As many workers as CPUs, each with an engine of one thread, none of which ever waits for another.
Batches of one and of eight are tried; the better counts. Run in a process of its own:
`python -m tests.bench.serving.ideal`.
"""

import json
import pickle
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from model.bundle import Bundle
from model.cpus import usable_cpus
from model.image import decode
from model.manifest import Precision
from predictor.engine import ENGINES
from predictor.engine.base import Engine, EngineOutput

_BATCHES = (1, 8)


@dataclass(frozen=True)
class Task:
    """What to do in process."""

    bundle: Path
    engine: str
    precision: Precision
    jpegs: tuple[bytes, ...]
    seconds: float


@dataclass(frozen=True)
class Ideal:
    """The best that this machine can do.

    Attributes:
        images_per_second: of all CPUs together.
        latency_s: median of one image alone, with all CPUs for its inference.
        cpu_s: for each image, at that speed.
        peak_rss_mb: of the process.
    """

    images_per_second: float
    latency_s: float
    cpu_s: float
    peak_rss_mb: float


def measure(task: Task) -> Ideal:
    """Do the task in a process of its own."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.bench.serving.ideal"],
        input=pickle.dumps(task),
        stdout=subprocess.PIPE,
        check=True,
        timeout=300.0,
    )
    return Ideal(**json.loads(made.stdout.splitlines()[-1]))


def main() -> None:
    task = pickle.load(sys.stdin.buffer)
    Image.preinit()
    bundle, cpus = Bundle.open(task.bundle), usable_cpus()
    alone = [_engine(task, bundle, 1) for _ in range(cpus)]
    speeds = [_speed(task, bundle, alone, batch) for batch in _BATCHES]
    images_per_second, cpu_s = max(speeds)
    found = Ideal(
        images_per_second,
        _latency_s(task, bundle, _engine(task, bundle, cpus)),
        cpu_s,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    )
    print(json.dumps(asdict(found)))


def _engine(task: Task, bundle: Bundle, threads: int) -> Engine:
    kind = ENGINES[task.engine]
    file = bundle.path / kind.artefacts[task.precision]
    return kind.open(file, task.precision, threads)


def _speed(
    task: Task, bundle: Bundle, engines: Sequence[Engine], batch: int
) -> tuple[float, float]:
    """Images per second, and CPU seconds per image."""
    counts, speeds = [0] * len(engines), [0.0] * len(engines)
    ready = threading.Barrier(len(engines) + 1)

    def work(number: int, engine: Engine) -> None:
        _answer(engine, bundle, task.jpegs, 0, batch)
        ready.wait()
        started = time.perf_counter()
        while (elapsed := time.perf_counter() - started) < task.seconds:
            _answer(engine, bundle, task.jpegs, counts[number], batch)
            counts[number] += batch
        speeds[number] = counts[number] / elapsed

    workers = [threading.Thread(target=work, args=each) for each in enumerate(engines)]
    for worker in workers:
        worker.start()
    ready.wait()
    cpu_s = time.process_time()
    for worker in workers:
        worker.join()
    return sum(speeds), (time.process_time() - cpu_s) / sum(counts)


def _latency_s(task: Task, bundle: Bundle, engine: Engine) -> float:
    _answer(engine, bundle, task.jpegs, 0, 1)
    seconds: list[float] = []
    end = time.perf_counter() + task.seconds
    while (started := time.perf_counter()) < end:
        _answer(engine, bundle, task.jpegs, len(seconds), 1)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _answer(
    engine: Engine, bundle: Bundle, jpegs: Sequence[bytes], first: int, batch: int
) -> EngineOutput:
    rule = bundle.manifest.decode
    chosen = (jpegs[(first + number) % len(jpegs)] for number in range(batch))
    return engine.run(np.stack([decode(each, rule).pixels for each in chosen]), want_cam=False)


if __name__ == "__main__":
    main()
