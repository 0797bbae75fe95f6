"""Runs `fit` and kills the process, without any warning, at a point that is given.

usage: fit_and_die.py CONFIG POINT

POINT is `step N` (after the N-th step of this process), `write N` (in the middle of writing the
N-th checkpoint) or `term N` (a SIGTERM after the N-th step).
"""

import os
import signal
import sys
from typing import Any, BinaryIO

import torch

from train import training
from train.__main__ import main

kind, _, number = sys.argv[2].partition(" ")
left = iter(range(int(number or 0) - 1, -1, -1))


def die_at_step(original: Any) -> Any:
    def progress(*arguments: Any) -> Any:
        told = original(*arguments)

        def on_step(done: int, total: int) -> None:
            if next(left, None) == 0:
                os.kill(os.getpid(), signal.SIGKILL if kind == "step" else signal.SIGTERM)
            told.on_step(done, total)

        return type(told)(on_step, told.on_epoch)

    return progress


def die_at_write(original: Any) -> Any:
    def save(state: Any, stream: BinaryIO) -> None:
        if next(left, None) == 0:
            stream.write(b"half of a checkpoint")
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        original(state, stream)

    return save


if kind in ("step", "term"):
    training._progress = die_at_step(training._progress)
elif kind == "write":
    torch.save = die_at_write(torch.save)
sys.exit(main(["fit", "--config", sys.argv[1]]))
