"""Before anything imports torch: waiting threads must not take the cores from the others."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

_SET = os.environ.get("OMP_NUM_THREADS")
_THREADS = torch.get_num_threads()


@pytest.fixture(autouse=True)
def same_threads() -> None:
    """Undo what a test before has set for its whole process: sums depend on their number."""
    torch.set_num_threads(_THREADS)
    if _SET is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    else:
        os.environ["OMP_NUM_THREADS"] = _SET
