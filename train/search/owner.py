"""Which process runs a trial: told by a lock that the system lets go of when the process ends."""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWNERS = "owners"


@contextmanager
def owner(directory: Path) -> Iterator[str]:
    """A name for this process that :func:`is_gone` knows while the block runs and after it."""
    name = uuid.uuid4().hex
    file = directory / OWNERS / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield name
        finally:
            file.unlink(missing_ok=True)


def is_gone(directory: Path, name: str) -> bool:
    """Whether an owner with this directory has ended; False where that cannot be told.

    Another machine's owner, or one with another directory, is not known here: only the heartbeat
    in the database tells of it.
    """
    try:
        stream = os.open(directory / OWNERS / name, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(stream)
    return True


def forget(directory: Path, name: str) -> None:
    """Remove what an owner that is gone has left."""
    (directory / OWNERS / name).unlink(missing_ok=True)
