"""Whether a long training grows: `python -m train fit` as it is, tracker and all."""

import re
import subprocess
import sys

import yaml

from tests.bench import processes
from tests.bench.results import Samples
from tests.bench.training.contender import ROOT
from tests.bench.training.goals import BASELINE
from tests.bench.training.measure import OURS, Bench
from tests.bench.training.results import Row
from tests.bench.training.sightline import tree

_SIDE_PX = 64
_EPOCH = re.compile(r"epoch +(\d+)  train loss")


def measure(bench: Bench) -> None:
    """RSS right after an epoch is reported, early and at the end."""
    first, last = bench.scale.memory_epochs
    task = bench.task(
        bench.scale.networks[BASELINE],
        side_px=min(_SIDE_PX, bench.scale.networks[BASELINE].side_px),
        epochs=last,
    )
    loop = bench.loop(OURS, task, "fit")
    config = bench.scratch / "memory.yaml"
    config.write_text(yaml.safe_dump(tree(loop.task)))
    command = [sys.executable, "-m", "train", "fit", "--config", str(config), "loop.resume=never"]
    rss_mb: dict[int, float] = {}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if found := _EPOCH.search(line):
                rss_mb[int(found[1])] = processes.rss_mb(processes.tree(process.pid))
    if process.returncode != 0:
        raise RuntimeError("fit has failed: " + "".join(said)[-3000:])
    for number in (first, last):
        bench.add(
            Row(
                bench.section,
                0,
                OURS,
                task.network,
                f"after epoch {number}",
                "cpu",
                None,
                0.0,
                None,
                round(rss_mb[number], 1),
            )
        )
    samples = Samples()
    samples.add("rss_growth", rss_mb[last] / rss_mb[first])
    bench.keep(samples)
