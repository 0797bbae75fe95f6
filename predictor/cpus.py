"""How many CPUs this process may really use.

Inside a container `os.cpu_count()` tells of the node: an engine with 64 threads on a quota of two
CPUs spends its time being throttled.
"""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """CPUs by affinity and by cgroup quota, whichever are fewer; a fraction is rounded down."""
    affinity = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return affinity if quota is None else max(1, min(affinity, math.floor(quota)))


def _quota(cgroup: Path) -> float | None:
    version_2 = _read(cgroup / "cpu.max").split()
    if len(version_2) == 2:
        return _ratio(*version_2)
    version_1 = cgroup / "cpu"
    return _ratio(
        _read(version_1 / "cpu.cfs_quota_us").strip(),
        _read(version_1 / "cpu.cfs_period_us").strip(),
    )


def _ratio(quota_us: str, period_us: str) -> float | None:
    if not quota_us.isdigit() or not period_us.isdigit() or int(period_us) == 0:
        return None
    return int(quota_us) / int(period_us)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
