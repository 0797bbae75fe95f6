"""How many CPUs this process may really use.

Inside a container `os.cpu_count()` tells of the node: an engine with 64 threads on a quota of two
CPUs spends its time being throttled.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cpus(cgroup: Path = _CGROUP, membership: Path = _MEMBERSHIP) -> int:
    """CPUs by affinity and by cgroup quota, whichever are fewer; a fraction is rounded down.

    Args:
        cgroup: where the control groups are mounted.
        membership: says which of them this process is in.
    """
    affinity = len(os.sched_getaffinity(0))
    quotas = [quota for group in _groups(cgroup, membership) for quota in _quotas(group)]
    return max(1, min(affinity, math.floor(min(quotas, default=affinity))))


def _groups(cgroup: Path, membership: Path) -> Iterator[Path]:
    """The process's groups and those above them, each of which may have a quota.

    In a container the mount usually begins at the process's own group, and then the paths of the
    membership lead nowhere.
    """
    yield cgroup
    yield cgroup / "cpu"
    for line in _read(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "" or "cpu" in controllers.split(","):
            root = cgroup / "cpu" if controllers else cgroup
            parts = Path(path.strip().lstrip("/")).parts
            for depth in range(1, len(parts) + 1):
                yield root.joinpath(*parts[:depth])


def _quotas(group: Path) -> Iterator[float]:
    version_2 = _read(group / "cpu.max").split()
    version_1 = [_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    for quota_us, period_us in (pair for pair in (version_2, version_1) if len(pair) == 2):
        if quota_us.isdigit() and period_us.isdigit() and int(period_us) > 0:
            yield int(quota_us) / int(period_us)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
