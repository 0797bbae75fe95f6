"""How many trials run at once, and on what."""

import os
from dataclasses import dataclass

import torch

from model.cpus import usable_cpus
from train.search.config import SearchConfig

# TPE learns from trials that have ended; with many at once it draws nearly at random.
_MOST_ON_CPU = 8


@dataclass(frozen=True)
class Slot:
    """The place of one trial at a time.

    Attributes:
        number: from 0.
        environment: variables of the process that trains there.
    """

    number: int
    environment: dict[str, str]


def make_slots(search: SearchConfig, device: str, trials: int) -> list[Slot]:
    """Share out GPUs, or else CPU cores.

    Args:
        search: says how many trials run at once.
        device: `loop.device` of the trials.
        trials: that are left; more places are not needed.
    """
    gpus = [] if device == "cpu" else visible_gpus()
    cores = usable_cpus()
    wanted = (len(gpus) or min(cores, _MOST_ON_CPU)) if search.jobs == "auto" else search.jobs
    count = max(1, min(wanted, trials))
    # Each would otherwise start a thread per core, and all of them wait for each other.
    threads = {"OMP_NUM_THREADS": str(max(1, cores // count))}
    return [
        Slot(number, threads | ({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}))
        for number in range(count)
    ]


def visible_gpus() -> list[str]:
    """The GPUs as CUDA_VISIBLE_DEVICES names them; here they are counted, not used."""
    # A MIG slice is named by its UUID, and counts as one device.
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    count = torch.cuda.device_count()
    if all(named) and len(named) >= count:
        return [name.strip() for name in named[:count]]
    return [str(number) for number in range(count)]
