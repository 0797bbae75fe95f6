import os
import subprocess
import sys

import pytest

# Fills 96 MB three times over, and counts the pages that the kernel had to give for the last.
SCRIPT = """
import resource, sys
import numpy as np
from train.memory import keep_freed_memory

assert sys.argv[1] == "by default" or keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(12_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 96_000_000 // 4096


@pytest.mark.parametrize(
    ("way", "least", "most"), [("by default", PAGES // 2, 2 * PAGES), ("kept", 0, PAGES // 100)]
)
def test_freed_memory_is_used_again_without_asking_the_kernel(
    way: str, least: int, most: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, way],
        # Huge pages would need fewer faults for as many bytes.
        env=os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert least <= int(done.stdout) <= most
