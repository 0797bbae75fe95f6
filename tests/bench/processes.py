"""What processes use, read from /proc."""

import os
from collections.abc import Sequence
from pathlib import Path

import psutil

_MIB = 1024.0 * 1024.0


def tree(pid: int) -> tuple[int, ...]:
    """A process and all that descend from it."""
    process = psutil.Process(pid)
    return (pid, *(child.pid for child in process.children(recursive=True)))


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds, in user and kernel mode, that the processes have used since they began."""
    return sum(_cpu_s(pid) for pid in pids)


def rss_mb(pids: Sequence[int]) -> float:
    return sum(_status_mb(pid, "VmRSS:") for pid in pids)


def peak_rss_mb(pids: Sequence[int]) -> float:
    """Sum of the processes' largest sizes since :func:`reset_peak`."""
    return sum(_status_mb(pid, "VmHWM:") for pid in pids)


def reset_peak(pids: Sequence[int]) -> None:
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _cpu_s(pid: int) -> float:
    # The command's name, in brackets, may hold blanks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status_mb(pid: int, key: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024.0 / _MIB
    return 0.0
