"""A tracker that no step waits for, and that no outage of its store ends or empties."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from train.errors import TrackingError
from train.tracking.base import Status
from train.tracking.journal import Begin, End, Journal, Metrics, Resume, Tags
from train.tracking.sender import Sender
from train.tracking.store import Store, StoreAwayError


class BufferedTracker:
    """Writes everything to a journal in the run directory; a thread sends it on to a store.

    It may record one run after another, but one at a time.
    """

    def __init__(
        self, directory: Path, store: Store, say: Callable[[str], None], settings: str = "{}"
    ) -> None:
        """Look whether the store can be used.

        Args:
            directory: of the journals.
            store: where the runs end up.
            say: is told what a person has to know, an outage above all.
            settings: by which the store is found again; kept with each run.

        Raises:
            TrackingError: the store cannot be used. One that is only away can: its time comes.
        """
        self._directory, self._store, self._say = directory, store, say
        self._settings = settings
        self._journal: Journal | None = None
        self._sender: Sender | None = None
        self._step = ExitStack()
        self._away = False
        self.run_id = ""
        try:
            store.check()
        except StoreAwayError as error:
            self._away = True
            say(f"{error}\nThe work goes on; what is recorded is kept in {directory}.")

    def begin(
        self,
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        parent: str | None = None,
    ) -> str:
        journal = Journal.create(self._directory, self._settings)
        record = Begin(
            name=name, params=dict(params), tags=dict(tags), parent=parent, time_ms=_now_ms()
        )
        self._open(journal, record)
        return self.run_id

    def resume(self, run_id: str) -> None:
        self._open(Journal.find(self._directory, run_id, self._settings), Resume(time_ms=_now_ms()))

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self._add(Metrics(values=dict(metrics), step=step, time_ms=_now_ms()))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._add(Tags(tags=dict(tags)))

    def log_files(self, path: Path, under: str | None = None) -> None:
        below = Path(under or "")
        files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
        root = path.parent if path.is_file() else path
        journal, sender = self._opened()
        for file in files:
            journal.add_file(file, (below / file.relative_to(root)).as_posix())
        sender.notice()

    def sync(self) -> str:
        _, sender = self._opened()
        sender.drain()
        if sender.sent.store_id is None:
            raise TrackingError(f"{self._store.address} has not given the run an id")
        return sender.sent.store_id

    def end(self, status: Status) -> None:
        if self._journal is None or self._sender is None:
            return
        journal, sender = self._journal, self._sender
        try:
            journal.add(End(status=status, time_ms=_now_ms()))
            sender.drain()
        except TrackingError as error:
            self._say(left_over(journal, error))
        finally:
            sender.stop()
            journal.close()
            self._step.close()
            self._journal = self._sender = None
        refused = sender.sent.refused
        if refused:
            self._say(f"{self._store.address} has refused {_records(refused)} of this run")

    def _open(self, journal: Journal, record: Begin | Resume) -> None:
        self._step.enter_context(journal.in_step())
        again = not journal.complete
        journal.add(record)
        self.run_id, self._journal = journal.run_id, journal
        self._sender = Sender(journal, self._store, self._say, again=again, told=self._away)
        if not self._away:
            # So that the run is there before any that is nested in it.
            with suppress(TrackingError):
                self._sender.drain()
        self._away = False

    def _add(self, record: Metrics | Tags) -> None:
        journal, sender = self._opened()
        journal.add(record)
        sender.notice()

    def _opened(self) -> tuple[Journal, Sender]:
        if self._journal is None or self._sender is None:
            raise TrackingError("nothing is being recorded; begin or resume a run first")
        return self._journal, self._sender


def left_over(journal: Journal, error: TrackingError) -> str:
    """What to say of a journal that the store has not all of."""
    run = journal.path.parents[1]
    count = journal.lines(journal.sent.offset)
    return (
        f"{error}\n{_records(count)} of this run wait in {journal.path}; the next step sends them, "
        f"or `python -m train track replay --run {run}`"
    )


def _records(count: int) -> str:
    return f"{count} record" if count == 1 else f"{count} records"


def _now_ms() -> int:
    return int(time.time() * 1000)
