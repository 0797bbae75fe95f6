"""The process of one loop."""

import importlib
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

from tests.bench.training.task import Task
from tests.bench.training.turns import Turns


def work(module: str, task: Task, connection: Connection, log: Path) -> None:
    """Run a loop until no more words come.

    Args:
        module: below `tests.bench.training` with a function `run(task, turns)`.
        task: what is trained.
        connection: through which the word comes.
        log: file for whatever the loop prints.
    """
    # The processes that load images are its group.
    os.setsid()
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    # As it is where a training is started from the command line: loaders fork their workers.
    multiprocessing.set_start_method("fork", force=True)
    loop = importlib.import_module(f"tests.bench.training.{module}")
    loop.run(task, Turns(connection, task.device, judged=task.judged))
