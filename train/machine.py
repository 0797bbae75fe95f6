"""What a training runs on."""

import os
import platform
from pathlib import Path

import torch

from model.manifest import Machine
from train.distributed import World

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def describe_machine(device: torch.device, world: World) -> Machine:
    """The machine of rank 0, and the GPUs of all processes. All of them take part."""
    cuda = device.type == "cuda"
    gpus = world.gather(torch.cuda.get_device_name(device) if cuda else None)
    first = [rank == 0 for rank in world.gather(world.launch.local_rank)]
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        threads=torch.get_num_threads(),
        memory_bytes=_memory_bytes(),
        gpus=[name for name in gpus if name is not None],
        gpu_memory_bytes=torch.cuda.get_device_properties(device).total_memory if cuda else None,
        processes=world.size,
        machines=sum(first),
    )


def summary(machine: Machine) -> str:
    """The machine in a line."""
    threads = f"{machine.threads} thread{'s' if machine.threads != 1 else ''}"
    where = machine.gpus[0] if machine.gpus else f"{machine.cpu}, {threads}"
    if machine.processes == 1:
        return where
    on = f" on {machine.machines} machines" if machine.machines > 1 else ""
    return f"{machine.processes} processes{on}, each {where}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), None)
    return model or platform.machine()


def _memory_bytes() -> int:
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(installed, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        # No limit is a word, "max".
        return installed
