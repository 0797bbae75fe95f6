"""From start to ready, over the time that importing the SDK and the runtime takes."""

import subprocess
import sys
import time

from tests.bench.recorder import say
from tests.bench.results import Samples
from tests.bench.serving.measure import Bench
from tests.bench.serving.servers import Running, sightline

_IMPORTS = "import kserve, onnxruntime"


def measure(bench: Bench) -> None:
    bundle = bench.bundle(bench.scale.architectures[2])
    server = sightline("sightline", bundle.path)
    logs = bench.results.directory / "logs"
    samples = Samples()
    # The first start leaves what can be kept of the engine's choice, and warms the files.
    with Running(server, logs) as running:
        running.wait_until_ready()
    for _ in range(bench.scale.short_rounds):
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", _IMPORTS], check=True)
        imports_s = time.monotonic() - started
        with Running(server, logs) as running:
            ready_s = running.wait_until_ready()
        say(f"  imports {imports_s:.2f} s, ready after {ready_s:.2f} s")
        samples.add("start_over_imports", ready_s / imports_s)
    bench.keep(samples)
