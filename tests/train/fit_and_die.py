"""Runs `fit` and ends the process, without any warning, at a point that is given.

Reads `CONFIG POINT` from each line of standard input and answers with the exit status. Each `fit`
is a process of its own, forked before anything was computed: the imports are paid for once.

POINT is `step N` (SIGKILL after the N-th step of this process), `write N` (in the middle of writing
the N-th checkpoint) or `term N` (SIGTERM after the N-th step).
"""

import os
import signal
import sys
from typing import Any, BinaryIO

import torch

from train import training
from train.__main__ import main


def fit(config: str, kind: str, number: int) -> int:
    left = iter(range(number - 1, -1, -1))

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
    return main(["fit", "--config", config])


for line in sys.stdin:
    config, kind, number = line.split()
    child = os.fork()
    if child == 0:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        # Ends as a process of its own would: what is written is flushed, and SystemExit counts.
        sys.exit(fit(config, kind, int(number)))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
