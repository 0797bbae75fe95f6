"""From the journal to the store, in a thread of its own, in order, each record once."""

import threading
import time
from collections.abc import Callable
from itertools import groupby, islice

from train.errors import TrackingError
from train.tracking.journal import (
    Begin,
    End,
    File,
    Journal,
    Line,
    Metrics,
    Record,
    Resume,
    Sent,
    Tags,
)
from train.tracking.store import RefusedError, Store, StoreAwayError

# What is recorded within this time goes out together: a request costs the processor that trains
# more than the wait costs whoever looks at the curves.
LINGER_S = 1.0
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0
_BATCH = 500
_LOOK_S = 5.0


class Sender:
    """Sends what a journal holds, and tries again while the store is away."""

    def __init__(
        self,
        journal: Journal,
        store: Store,
        say: Callable[[str], None],
        *,
        again: bool = True,
        told: bool = False,
    ) -> None:
        """Start the thread.

        Args:
            journal: what is to be sent.
            store: where to; called from the thread only.
            say: is told when the store goes away, the first time, and when it is back.
            again: what is not acknowledged may have arrived though nobody here has heard of it.
            told: it has been told already that it is away.
        """
        self._journal, self._store, self._say = journal, store, say
        self._changed = threading.Condition()
        self._sent = journal.sent
        self._idle = self._urgent = self._stopping = False
        self._told = told
        self._failures = self._failures_in_a_row = 0
        self._error = TrackingError("nothing has been sent")
        self._again = again
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    @property
    def sent(self) -> Sent:
        """What the store has acknowledged."""
        return self._sent

    def notice(self) -> None:
        """Say that the journal has something new; costs next to nothing."""
        if self._idle:
            with self._changed:
                self._changed.notify_all()

    def drain(self) -> None:
        """Send all that is there now, without delay.

        Raises:
            TrackingError: an attempt has failed; what is left stays in the journal.
        """
        target = self._journal.size
        with self._changed:
            failures = self._failures
            while self._sent.offset < target:
                if self._failures > failures:
                    raise self._error
                if not self._thread.is_alive():
                    raise TrackingError(
                        f"{self._store.address} cannot be used: its thread has died"
                    )
                self._urgent = True
                self._changed.notify_all()
                self._changed.wait(_LOOK_S)

    def stop(self) -> None:
        """End the thread; one that waits for an answer is left behind and ends with the process."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while self._wait():
            try:
                self._send()
            except TrackingError as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the training goes on
                self._failed(TrackingError(f"{self._store.address} cannot be used: {error!r}"))

    def _wait(self) -> bool:
        """Until there is something to send and it is time to; False at the end."""
        with self._changed:
            self._idle = True
            while not self._stopping and self._sent.offset >= self._journal.size:
                self._urgent = False
                self._changed.wait()
            self._idle = False
            doubled = FIRST_RETRY_S * 2.0 ** min(self._failures_in_a_row - 1, 10)
            delay_s = min(doubled, LONGEST_RETRY_S) if self._failures_in_a_row else LINGER_S
            due = time.monotonic() + delay_s
            while not self._stopping and not self._urgent and time.monotonic() < due:
                self._changed.wait(max(0.0, due - time.monotonic()))
            self._urgent = False
            return not self._stopping

    def _send(self) -> None:
        journal = self._journal
        with journal.sending() as ours:
            if not ours:
                raise StoreAwayError(f"another process is sending what {journal.path} holds")
            # Which may have been so until now, and ended in the middle.
            sent = journal.sent
            if sent != self._sent:
                self._again = True
                with self._changed:
                    self._sent = sent
                    self._changed.notify_all()
            journal.sync()
            while lines := list(islice(journal.read(self._sent.offset), _BATCH)):
                for kind, group in groupby(lines, key=lambda line: type(line.record)):
                    # Figures and tags go together, everything else one by one.
                    together = kind in (Metrics, Tags)
                    for part in [list(group)] if together else [[line] for line in group]:
                        self._deliver(part)
                        if self._stopping:
                            return

    def _deliver(self, lines: list[Line]) -> None:
        records = [line.record for line in lines if line.record is not None]
        refused, store_id = self._sent.refused, self._sent.store_id
        try:
            if records:
                store_id = self._hand_over(records, store_id)
        except RefusedError as error:
            self._again = True
            if len(lines) > 1:
                for line in lines:
                    self._deliver([line])
                return
            refused += 1
            self._say(f"{self._store.address} refuses a {records[0].kind} record: {error}")
        if self._stopping:
            # An answer that comes when nobody waits any more: the next step asks what arrived.
            return
        self._acknowledge(Sent(store_id=store_id, offset=lines[-1].end, refused=refused))
        for record in records:
            if isinstance(record, File):
                self._journal.release(record)

    def _hand_over(self, records: list[Record], store_id: str | None) -> str:
        """Give records of one kind to the store; returns the run's id there."""
        store, first, again = self._store, records[0], self._again
        if isinstance(first, Begin):
            try:
                return store.begin(self._journal.run_id, first, again=again)
            except RefusedError as error:
                # Without the run there is nothing that the rest could go to.
                raise TrackingError(str(error)) from error
        if store_id is None:
            store_id = store.find(self._journal.run_id)
        if store_id is None:
            raise StoreAwayError(
                f"{store.address} does not have run {self._journal.run_id} yet, which was begun "
                f"elsewhere than in {self._journal.path}"
            )
        if isinstance(first, Metrics):
            figures = [record for record in records if isinstance(record, Metrics)]
            store.log(store_id, figures, again=again)
        elif isinstance(first, Tags):
            tags = [record.tags for record in records if isinstance(record, Tags)]
            store.set_tags(store_id, {key: value for each in tags for key, value in each.items()})
        elif isinstance(first, File):
            held = self._journal.held(first)
            if not held.is_file():
                raise RefusedError(f"{held} has been removed before it was sent")
            store.log_file(store_id, held, first.path)
        elif isinstance(first, Resume):
            store.resume(store_id)
        elif isinstance(first, End):
            store.end(store_id, first.status, first.time_ms)
        return store_id

    def _acknowledge(self, sent: Sent) -> None:
        self._journal.acknowledge(sent)
        self._again = False
        with self._changed:
            self._sent = sent
            recovered = self._failures_in_a_row > 0
            self._failures_in_a_row = 0
            self._changed.notify_all()
        if recovered and self._told:
            self._say(f"{self._store.address} is back, and is sent what it has missed")

    def _failed(self, error: TrackingError) -> None:
        self._again = True
        with self._changed:
            self._failures += 1
            self._failures_in_a_row += 1
            self._error = error
            self._changed.notify_all()
        if not self._told:
            self._told = True
            self._say(
                f"{error}\nThe work goes on; what is recorded is kept in {self._journal.path}."
            )
