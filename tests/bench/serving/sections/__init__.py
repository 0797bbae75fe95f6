"""What is measured, section by section; each can be measured by itself."""

from collections.abc import Callable, Mapping

from tests.bench.serving.measure import Bench
from tests.bench.serving.sections import (
    engines,
    explain,
    faults,
    gpu,
    memory,
    peers,
    start,
    throughput,
)

SECTIONS: Mapping[str, Callable[[Bench], None]] = {
    "throughput": throughput.measure,
    "explain": explain.measure,
    "engines": engines.measure,
    "faults": faults.measure,
    "memory": memory.measure,
    "start": start.measure,
    "gpu": gpu.measure,
}
# Needs the environments that `make bench-peers` makes.
OPTIONAL: Mapping[str, Callable[[Bench], None]] = {"peers": peers.measure}
