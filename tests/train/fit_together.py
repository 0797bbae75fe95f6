"""Runs `fit` under torchrun, and lets something happen to one of the processes.

    torchrun --nproc-per-node 2 -m tests.train.fit_together RANK POINT NUMBER CONFIG OVERRIDES

After NUMBER steps of this process, RANK gets what POINT says: `kill` is SIGKILL to itself, `raise`
an error that nobody has foreseen, `term` SIGTERM to torchrun, as a cluster sends it, and `orphan`
SIGKILL to torchrun; with `none` nothing happens. The exit code of each process is left beside
CONFIG, in `code-RANK`.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.train.plain import offer_plain
from train import inference, training
from train.__main__ import main


def happen(point: str) -> None:
    if point == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point == "orphan":
        os.kill(os.getppid(), signal.SIGKILL)
    elif point == "term":
        os.kill(os.getppid(), signal.SIGTERM)
    elif point == "raise":
        raise ArithmeticError("it went wrong here")


def arrange(point: str, number: int) -> None:
    left = iter(range(number - 1, -1, -1))
    original: Any = training._progress

    def progress(*arguments: Any) -> Any:
        told = original(*arguments)

        def on_step(done: int, total: int) -> None:
            told.on_step(done, total)
            if next(left, None) == 0:
                happen(point)

        return type(told)(on_step, told.on_epoch)

    training.__dict__["_progress"] = progress


rank, point, number, config, *overrides = sys.argv[1:]
offer_plain()
# So small that the validation is several batches, which two processes cannot share evenly.
inference.BATCH = 4
if os.environ["RANK"] == rank:
    arrange(point, int(number))
code: object = "died"
try:
    code = main(["fit", "--config", config, *overrides])
except SystemExit as left:
    code = left.code
finally:
    Path(config).with_name(f"code-{os.environ['RANK']}").write_text(str(code))
sys.exit(int(str(code)))
