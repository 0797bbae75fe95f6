"""The processes of one training, and what they tell each other."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from train.errors import PassingError, PeerError
from train.launch import Launch

T = TypeVar("T")

# Between two steps the processes do nothing that takes long, except for writing a checkpoint.
_SILENCE = timedelta(minutes=10)
_POLL_S = 0.02
_FAILURE, _ENDED = "failure", "ended"
_TERMINATED = 128 + signal.SIGTERM
# gloo and NCCL raise a RuntimeError for this as for anything else.
_LOST = re.compile(r"gloo|NCCL|[Cc]onnection (closed|reset)|[Bb]roken pipe|TCPStore")


class World:
    """The processes of one training; alone, every operation is trivial.

    All operations but :meth:`watching` are collective: every process calls them, in the same order.
    What is told here goes over gloo also where gradients go over NCCL: it is small and lies on the
    CPU, and gloo notices at once that a process has ended.

    Args:
        launch: the place of this process among them.
        store: keys and values that all of them share.
    """

    def __init__(self, launch: Launch | None = None, store: Store | None = None) -> None:
        self.launch = launch or Launch()
        self.leaving = False
        self._store = store
        self._launcher = os.getppid()
        self._waits = 0

    @property
    def rank(self) -> int:
        return self.launch.rank

    @property
    def size(self) -> int:
        return self.launch.size

    @property
    def alone(self) -> bool:
        return self.launch.alone

    @property
    def main(self) -> bool:
        """Whether this process writes, tracks and talks for all of them."""
        return self.launch.main

    def broadcast(self, value: T | None) -> T:
        """The value that rank 0 has; those of the others are not looked at."""
        values = [value]
        if not self.alone:
            dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return cast(T, values[0])

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        values: list[T | None] = [value]
        if not self.alone:
            values *= self.size
            dist.all_gather_object(values, value)
        return cast(list[T], values)

    def made_by_main(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, however long it takes."""
        value = make() if self.main else None
        self._wait_for(self.main, [0])
        return self.broadcast(value)

    def first_on_its_machine(self, make: Callable[[], T]) -> T:
        """Make something on one process of each machine, however long it takes; then on the others.

        For what is slow once, and quick where its result lies on the disk already.
        """
        first = self.launch.local_rank == 0
        value = make() if first else None
        self._wait_for(first, [self.rank - self.launch.local_rank])
        return cast(T, value) if first else make()

    def agree(self, loss: float, stop: int | None, save: bool) -> tuple[float, int | None, bool]:
        """What holds for all processes after a step.

        Args:
            loss: this process's part of it.
            stop: exit code, if this process has been asked to stop.
            save: whether rank 0 finds that it is time to save.

        Returns:
            The sum of the losses; the exit code if any process has been asked to stop, or has lost
            the torchrun that has started it; and rank 0's word on saving.
        """
        if self.alone:
            return loss, stop, save
        if os.getppid() != self._launcher:
            stop = stop or _TERMINATED
        mine = torch.tensor([loss, stop or 0, self.main and save], dtype=torch.float64)
        told = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(told, mine)
        # Added up here and in the order of ranks, so that all of them have the very same sum.
        losses, stops, saves = torch.stack(told).T.tolist()
        code = int(max(stops))
        self.leaving = code != 0
        return sum(losses), code or None, bool(max(saves))

    def copy_buffers(self, module: nn.Module) -> None:
        """Give every process rank 0's buffers: batch normalisation's running statistics."""
        if not self.alone:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def copy_state(self, module: nn.Module) -> None:
        """Give every process rank 0's weights and buffers."""
        if not self.alone:
            with torch.no_grad():
                for tensor in module.state_dict().values():
                    dist.broadcast(tensor, src=0)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Tell the other processes if this one fails in the block.

        Raises:
            PeerError: instead of what comes of it here that another process has failed.
        """
        try:
            yield
        except BaseException as error:
            if self.alone or self.leaving or isinstance(error, PeerError):
                raise
            # torchrun ends the processes that are left. It must not disturb the end of the tracked
            # run, and this process is about to leave anyway.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            lost = isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None
            mine = _told(error, lost=lost)
            first = self._tell_failure(f"rank {self.rank}: {mine}")
            if first is not None and not isinstance(error, KeyboardInterrupt):
                raise PeerError(f"ended, because another process has failed: {first}") from error
            if lost:
                raise PeerError(mine, first=True) from error
            raise

    def finish(self) -> None:
        """Wait until rank 0 has written and tracked everything."""
        self._wait_for(self.main, [0])

    def tell_ended(self) -> None:
        """Say that this process, rank 0, has ended the tracked run."""
        if self._store is not None:
            with suppress(RuntimeError):
                self._store.set(_ENDED, "yes")

    def main_has_ended(self, within_s: float) -> bool:
        """Whether rank 0 says within some time that it has ended the tracked run."""
        limit = time.monotonic() + within_s
        with suppress(RuntimeError):
            while self._store is not None and time.monotonic() < limit:
                if self._store.check([_ENDED]):
                    return True
                time.sleep(_POLL_S)
        return False

    def _wait_for(self, ready: bool, ranks: list[int]) -> None:
        """Say that this process is ready, and wait for others; no time is too long.

        The processes look again and again instead of sleeping in a collective, so that signals
        reach them, and there is no time after which a collective would give up.
        """
        if self._store is None:
            return
        self._waits += 1
        if ready:
            self._store.set(f"{self._waits}/{self.rank}", "ready")
        keys = [f"{self._waits}/{rank}" for rank in ranks]
        while not self._store.check(keys):
            if self._store.check([_FAILURE]):
                raise PeerError(
                    "ended, because another process has failed: "
                    + self._store.get(_FAILURE).decode(errors="replace")
                )
            time.sleep(_POLL_S)

    def _tell_failure(self, mine: str) -> str | None:
        """Record this process's failure; where another has failed before, return that one."""
        if self._store is None:
            return None
        # Where the store has gone with the machine that held it, there is nobody to tell.
        with suppress(RuntimeError):
            told = self._store.compare_set(_FAILURE, "", mine).decode(errors="replace")
            return None if told == mine else told
        return None


@contextmanager
def joined(launch: Launch, device: torch.device) -> Iterator[World]:
    """Meet the other processes that torchrun has started, and part from them after the block.

    Args:
        launch: the place of this process.
        device: that it computes on: gradients go over NCCL between GPUs, over gloo between CPUs.

    Raises:
        PassingError: the processes do not find each other.
        PeerError: another process has failed.
    """
    if launch.alone:
        yield World(launch)
        return
    store = _meet(launch, device)
    world = World(launch, PrefixStore("sightline", store))
    try:
        with world.watching():
            yield world
            world.finish()
    except SystemExit:
        # All leave together: nobody before rank 0 has closed the tracked run, because torchrun
        # ends what is left as soon as one has gone.
        if world.leaving:
            # Where torchrun itself has gone, so has the store, and there is nobody to end anything.
            with suppress(RuntimeError):
                world.finish()
        raise
    dist.destroy_process_group()


def _meet(launch: Launch, device: torch.device) -> Store:
    cuda = device.type == "cuda"
    try:
        store, _, _ = next(rendezvous("env://", launch.rank, launch.size, timeout=_SILENCE))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=PrefixStore("group", store),
            rank=launch.rank,
            world_size=launch.size,
            timeout=_SILENCE,
            device_id=device if cuda else None,
        )
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise PassingError(
            f"the {launch.size} processes do not find each other at {where} (MASTER_ADDR and "
            f"MASTER_PORT, as torchrun sets them): {error}"
        ) from error
    return cast(Store, store)


def _told(error: BaseException, *, lost: bool) -> str:
    if lost:
        return f"lost another process, which torchrun names: {str(error).splitlines()[0]}"
    if isinstance(error, SystemExit):
        return f"ended by a signal, with exit code {error.code}"
    return str(error) or type(error).__name__
