"""The door: what a request passes before its body is read, whatever protocol it comes in."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from predictor.bearer import TokenFile
from predictor.deadline import header_timeout_s
from predictor.errors import TooManyRequestsError, UploadsFullError
from predictor.settings import Settings


class Door:
    """Checks the token, counts requests, and bounds the bytes that all of them hold together.

    Used from the event loop only.

    Raises:
        SettingError: the token file cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._tokens = TokenFile(Path(settings.token_file)) if settings.token_file else None
        self._timeout_s = settings.timeout_s
        self._max_requests = settings.max_requests
        self._max_bytes = settings.upload_bytes
        self.requests = 0
        self.bytes = 0

    def authorise(self, headers: Mapping[str, str]) -> None:
        """Let pass who sends the token, or anybody if there is none.

        Raises:
            UnauthorisedError: the token is missing or wrong.
        """
        if self._tokens is not None:
            self._tokens.check(headers.get("authorization"))

    @contextmanager
    def enter(self, headers: Mapping[str, str]) -> Iterator["Visit"]:
        """Hold a place for a request until it has been answered.

        Args:
            headers: of HTTP, or the metadata of gRPC.

        Raises:
            UnauthorisedError: the token is missing or wrong.
            TooManyRequestsError: no place is free.
            MalformedRequestError: a header with a timeout is no number.
        """
        self.authorise(headers)
        if self.requests >= self._max_requests:
            raise TooManyRequestsError(
                f"{self.requests} requests are being worked on; "
                f"at most {self._max_requests} are accepted at once"
            )
        visit = Visit(self, time.monotonic(), self._timeout_s)
        visit.within(header_timeout_s(headers))
        self.requests += 1
        try:
            yield visit
        finally:
            self.requests -= 1
            self.bytes -= visit.bytes

    def take(self, count: int) -> None:
        """Count bytes that a request has sent.

        Raises:
            UploadsFullError: all requests together hold too many.
        """
        if self.bytes + count > self._max_bytes:
            raise UploadsFullError(
                f"all requests at once hold {self.bytes:,} bytes; "
                f"at most {self._max_bytes:,} are accepted"
            )
        self.bytes += count


class Visit:
    """The time and the bytes of one request.

    Attributes:
        deadline: `time.monotonic()` after which nobody waits for the answer.
        bytes: of its body, as far as it has come.
    """

    def __init__(self, door: Door, started: float, timeout_s: float) -> None:
        self._door = door
        self._started = started
        self.deadline = started + timeout_s
        self.bytes = 0

    def within(self, timeout_s: float | None) -> None:
        """Bring the deadline forward to what the client asked for, counted from its arrival."""
        if timeout_s is not None:
            self.deadline = min(self.deadline, self._started + timeout_s)

    def hold(self, count: int) -> None:
        """Count bytes that have come; see :meth:`Door.take`."""
        self._door.take(count)
        self.bytes += count
