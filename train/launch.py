"""How this process was started: alone, or by torchrun as one of several."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from train.errors import ConfigError

_NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """The place of a process among those that torchrun has started together.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are on all machines.
        local_rank: number of this process on its machine, from 0.
        local_size: how many there are on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Launch":
        """Read the variables that torchrun sets for each process.

        Without any of them the process is alone. So it is where a cluster's operator sets
        WORLD_SIZE=1 for a container that was started without torchrun.

        Raises:
            ConfigError: some are missing, no numbers, or contradict each other; names them.
        """
        given = {name: environment[name] for name in _NUMBERS if environment.get(name)}
        if "LOCAL_RANK" not in given and given.get("WORLD_SIZE", "1") == "1":
            return cls()
        missing = [name for name in (*_NUMBERS, *_ADDRESS) if not environment.get(name)]
        if missing:
            raise ConfigError(
                f"{', '.join(sorted(given))} is set, but {', '.join(missing)} is not: start the "
                "processes with torchrun, which sets all of them, or unset what is left over"
            )
        for name, text in given.items():
            if not text.isdecimal():
                raise ConfigError(f"environment variable {name} is {text!r}; a number is expected")
        rank, size, local_rank, local_size = (int(given[name]) for name in _NUMBERS)
        if not (local_rank < local_size <= size and local_rank <= rank < size):
            told = ", ".join(f"{name}={text}" for name, text in given.items())
            raise ConfigError(f"the environment contradicts itself: {told}")
        return cls(rank, size, local_rank, local_size)

    @property
    def alone(self) -> bool:
        return self.size == 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes, tracks and talks."""
        return self.rank == 0

    @property
    def prefix(self) -> str:
        """What its errors begin with, so that one can tell whose they are."""
        return "" if self.alone else f"rank {self.rank}: "

    def refuse_several(self, step: str) -> None:
        """Refuse a step that is made for one process.

        Raises:
            ConfigError: there are several.
        """
        if not self.alone:
            raise ConfigError(
                f"`{step}` runs as one process, and torchrun has started {self.size}; only `fit` "
                "shares its work among several"
            )


ALONE = Launch()
