"""One retraining of a model at a time: a lease kept as tags of the registered model.

MLflow has no compare-and-set, so each contender writes a tag of its own, and all read all tags.
One that finds no holder, and no contender before it, says that it holds, waits a settle time and
looks again. This is safe because a contender measures the time from its last look until its claim
is written, and withdraws when that took longer than the settle time: of two that both look again,
the later one has either looked after the other's claim was written, or is seen by it. What remains:
the registry must show each write to every later read, clocks must run at the same rate and differ
by less than the margin, and a holder that is suspended beyond its expiry finds that out only at the
next look.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from train.errors import LeaseError, TrackingError
from train.section import Section
from train.tracking.mlflow import talking_to

PREFIX = "retrain.lease."
# How far the clocks of two machines may be apart.
_MARGIN_S = 20.0


class Ticket(Section):
    """A contender's tag.

    Attributes:
        since: when it came, in seconds of the epoch; the first one is served first.
        expires: when it no longer counts.
        held: whether it claims the lease.
        who: for people.
    """

    since: float
    expires: float
    held: bool
    who: str


class HeldError(Exception):
    """Somebody else has the lease, or is before us in the queue."""

    def __init__(self, ticket: Ticket) -> None:
        began = datetime.fromtimestamp(ticket.since, UTC)
        super().__init__(f"{ticket.who} since {began:%Y-%m-%d %H:%M:%S} UTC")


@dataclass
class Lease:
    """The lease of one registered model.

    Attributes:
        client: of the registry.
        uri: the registry's address, for errors.
        model: name of the registered model.
        lasts_s: after the holder's last sign of life.
        settle_s: longest time between looking and claiming.
    """

    client: MlflowClient
    uri: str
    model: str
    lasts_s: float
    settle_s: float
    key: str = field(default_factory=lambda: f"{PREFIX}{uuid.uuid4().hex}")
    since: float = field(default_factory=time.time)
    held: bool = False

    @contextmanager
    def hold(self, wait_s: float) -> Iterator["Lease"]:
        """Have the lease while the block runs; whatever happens, it is given back.

        Raises:
            HeldError: somebody else has it, still after `wait_s`.
            TrackingError: the registry cannot be used.
        """
        ended = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(ended,), daemon=True)
        try:
            with talking_to(self.uri):
                _make_model(self.client, self.model)
                self._acquire(wait_s)
            renewal.start()
            yield self
        finally:
            ended.set()
            if renewal.ident is not None:
                renewal.join()
            # It expires by itself where the registry is away.
            with suppress(TrackingError), talking_to(self.uri):
                self.client.delete_registered_model_tag(self.model, self.key)

    def check(self) -> None:
        """Look whether the lease is still ours, before something that cannot be taken back.

        Raises:
            LeaseError: it has expired, and may be somebody else's.
            TrackingError: the registry cannot be used.
        """
        with talking_to(self.uri):
            tickets = self._tickets()
        mine = tickets.pop(self.key, None)
        others = [each.who for each in tickets.values() if each.held]
        if mine is None or mine.expires < time.time() or others:
            taken = f", and is now of {others[0]}" if others else ""
            raise LeaseError(
                f"the lease on {self.model} was lost: the registry was not reached for "
                f"{self.lasts_s:.0f} s{taken}; the same command goes on when it is free"
            )

    def _acquire(self, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while True:
            self._write()
            time.sleep(self.settle_s)
            before = self._before_us()
            if before is None and self._claim():
                return
            if before is not None and time.monotonic() >= deadline:
                raise HeldError(before)

    def _claim(self) -> bool:
        looked = time.monotonic()
        if self._before_us() is None:
            self.held = True
            self._write()
            if time.monotonic() - looked < self.settle_s:
                time.sleep(self.settle_s)
                if not any(o.held and self._is_before(k, o) for k, o in self._others().items()):
                    return True
        self.held = False
        self._write()
        return False

    def _before_us(self) -> Ticket | None:
        """Who has the lease, or else the first of those that came before."""
        others = self._others()
        holders = [other for other in others.values() if other.held]
        earlier = [o for key, o in others.items() if self._is_before(key, o)]
        return min(holders or earlier, key=lambda ticket: ticket.since, default=None)

    def _is_before(self, key: str, other: Ticket) -> bool:
        return (other.since, key) < (self.since, self.key)

    def _others(self) -> dict[str, Ticket]:
        return {key: ticket for key, ticket in self._tickets().items() if key != self.key}

    def _tickets(self) -> dict[str, Ticket]:
        """The tickets that count; the others are removed."""
        tickets = {}
        for key, value in self.client.get_registered_model(self.model).tags.items():
            if not key.startswith(PREFIX):
                continue
            try:
                ticket = Ticket.model_validate_json(value)
            except ValidationError:
                continue
            if ticket.expires + _MARGIN_S > time.time() or key == self.key:
                tickets[key] = ticket
            else:
                with suppress(MlflowException):
                    self.client.delete_registered_model_tag(self.model, key)
        return tickets

    def _write(self) -> None:
        ticket = Ticket(
            since=self.since,
            expires=time.time() + self.lasts_s,
            held=self.held,
            who=f"{socket.gethostname()}, process {os.getpid()},",
        )
        self.client.set_registered_model_tag(self.model, self.key, ticket.model_dump_json())

    def _renew(self, ended: threading.Event) -> None:
        while not ended.wait(self.lasts_s / 4):
            # Where the registry is away, the next one may succeed, and `check` tells if none did.
            with suppress(TrackingError), talking_to(self.uri):
                if self.key in self._tickets():
                    self._write()


def _make_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
