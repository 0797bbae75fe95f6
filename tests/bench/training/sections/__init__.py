"""What is measured, section by section; each can be measured by itself."""

from collections.abc import Callable, Mapping
from functools import partial

from tests.bench.training.goals import BASELINE, RESNET18
from tests.bench.training.measure import Bench
from tests.bench.training.sections import (
    accuracy,
    cache,
    gpu,
    memory,
    overhead,
    resume,
    scaling,
    throughput,
)

SECTIONS: Mapping[str, Callable[[Bench], None]] = {
    BASELINE: partial(throughput.measure, network=BASELINE),
    RESNET18: partial(throughput.measure, network=RESNET18),
    "overhead": overhead.measure,
    "cache": cache.measure,
    "scaling": scaling.measure,
    "accuracy": accuracy.measure,
    "resume": resume.measure,
    "memory": memory.measure,
    "gpu": gpu.measure,
}
