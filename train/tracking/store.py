"""What a store of runs must be able to do, so that `BufferedTracker` can record in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from train.errors import PassingError, TrackingError
from train.tracking.base import Status
from train.tracking.journal import Begin, Metrics


class StoreAwayError(TrackingError, PassingError):
    """The store cannot be reached now; the same is sent again later."""


class RefusedError(TrackingError):
    """The store will never take this one thing; it is left out, and told."""


class Store(Protocol):
    """Keeps runs: a server, a database, a folder.

    One thread calls it, and no training waits for it; so a call may take its time, but must return
    or raise in the end. Any call may come twice where it is not known whether the first arrived:
    `again` says so where that would matter.

    Every method raises:
        StoreAwayError: it cannot be reached.
        RefusedError: it will never take this one thing.
        TrackingError: it cannot be used at all, whatever is sent.
    """

    #: For messages: its name and address.
    address: str

    def check(self) -> None:
        """Look whether it can be used; called before anything is computed."""
        ...

    def begin(self, run_id: str, begin: Begin, *, again: bool) -> str:
        """Start a run and return the id that it has here.

        Args:
            run_id: ours; kept with the run, so that it and its children find it.
            begin: what is known of it.
            again: it may be here already.
        """
        ...

    def find(self, run_id: str) -> str | None:
        """The id that one of our runs has here, begun by a process whose journal is elsewhere."""
        ...

    def resume(self, store_id: str) -> None:
        """A later step goes on with a run, mostly in another process than began it."""
        ...

    def log(self, store_id: str, metrics: Sequence[Metrics], *, again: bool) -> None:
        """Keep figures with the step and time of each.

        Args:
            store_id: the run.
            metrics: a few hundred at most.
            again: some or all of them may be here already.
        """
        ...

    def set_tags(self, store_id: str, tags: Mapping[str, str]) -> None: ...

    def log_file(self, store_id: str, file: Path, path: str) -> None:
        """Keep a file as the artefact `path`."""
        ...

    def end(self, store_id: str, status: Status, time_ms: int) -> None: ...
