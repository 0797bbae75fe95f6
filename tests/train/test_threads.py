"""A training in a container has as many threads as its quota of CPUs, not as the node has cores."""

import subprocess
import sys

import pytest

# The quota itself is read in tests/model/test_cpus.py. What fails is a step that loads torch first.
SCRIPT = """
import train.__main__ as command
command.usable_cpus = lambda: 1
assert command.main(["data", "diff", "no-run", "no-run"]) == command.EXIT_ERROR
import torch
print(torch.get_num_threads())
"""


@pytest.mark.parametrize(("named", "threads"), [(None, 1), ("2", 2)])
def test_torch_has_a_thread_per_usable_cpu_unless_their_number_is_set(
    monkeypatch: pytest.MonkeyPatch, named: str | None, threads: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if named is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", named)
    command = [sys.executable, "-c", SCRIPT]
    assert int(subprocess.run(command, capture_output=True, check=True).stdout) == threads
