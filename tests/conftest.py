"""Before anything imports torch: waiting threads must not take the cores from the others."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

THREADS = torch.get_num_threads()


@pytest.fixture(autouse=True)
def same_threads() -> None:
    """A TorchScript engine sets them for the whole process, and sums depend on their number."""
    torch.set_num_threads(THREADS)
