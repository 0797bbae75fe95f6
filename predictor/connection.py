"""HTTP connections that a client cannot hold for nothing.

uvicorn reads a request's head without a bound on its time or its size, closes an idle connection
only after a first answer, and waits for ever for a client that does not take its answer. Each is a
way to hold memory with a few bytes from many sockets.
"""

import asyncio
import fcntl
import select
import struct
import termios
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

# Bytes that may come without a part of a body or the end of a head among them.
MAX_HEAD_BYTES = 64 * 1024


class Connections:
    """All open connections, and which of them have no request under way.

    When there are too many, the one that has waited longest without a request is closed, so that
    clients who open connections and are silent lose them to those who ask, probes among them.

    Args:
        most: how many may be open.
        client_timeout_s: how long a head may take to come, and a client pause in taking its answer.
        on_closed: told why, whenever a connection is closed for one of these reasons.
    """

    def __init__(
        self,
        most: int,
        client_timeout_s: float,
        on_closed: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.most = most
        self.client_timeout_s = client_timeout_s
        self.on_closed = on_closed
        self.open = 0
        self.waiting: dict[Connection, None] = {}

    def make(self, **options: Any) -> "Connection":
        """A protocol for a new connection, as uvicorn asks for it."""
        return Connection(self, **options)

    def add(self, connection: "Connection") -> None:
        self.open += 1
        self.waiting[connection] = None
        if self.open > self.most:
            next(iter(self.waiting)).end("limit")

    def remove(self, connection: "Connection") -> None:
        self.open -= 1
        self.waiting.pop(connection, None)


class Connection(HttpToolsProtocol):
    """One of them; made by :meth:`Connections.make`."""

    def __init__(self, house: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._house = house
        self._unread_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._untaken_bytes = 0
        self._running: RequestResponseCycle | None = None
        self._hang_up = select.poll()

    @property
    def _waits(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._hang_up.register(transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        self._expect_head()
        self._house.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._house.remove(self)
        self._head_came()
        self.resume_writing()
        if self._running is not None:
            # With pipelined requests uvicorn would tell the last of them only.
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # A busy server reads a request long after it was sent. Whoever has hung up meanwhile would
        # be noticed when the work has begun; the kernel knows it now.
        if self._hang_up.poll(0):
            self._house.on_closed("gone")
            self.transport.abort()
            return
        self._unread_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unread_bytes > MAX_HEAD_BYTES:
            self.end("head_size", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._waits and self._head_timer is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        self._unread_bytes = 0
        self._head_came()
        self._house.waiting.pop(self, None)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread_bytes = 0
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._waits and not self.transport.is_closing():
            self._house.waiting[self] = None
            if self.cycle.more_body and self._head_timer is None:
                # The rest of a refused body is thrown away, but not for as long as an idle
                # connection may last.
                self._expect_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_taking()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def end(self, reason: str, status: HTTPStatus | None = None) -> None:
        """Close it; with a status, say so to a client that has begun a request."""
        self._house.waiting.pop(self, None)
        self._house.on_closed(reason)
        cycle: RequestResponseCycle | None = self.cycle
        if status is not None and cycle is None:
            body = orjson.dumps({"error": status.phrase.lower()})
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%s" % (status, status.phrase.encode(), len(body), body)
            )
        self.transport.close()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._house.client_timeout_s, self._late)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.end("head_timeout", HTTPStatus.REQUEST_TIMEOUT if self._unread_bytes else None)

    def _expect_taking(self) -> None:
        self._untaken_bytes = self._untaken()
        self._write_timer = self.loop.call_later(self._house.client_timeout_s, self._stalled)

    def _stalled(self) -> None:
        self._write_timer = None
        if self._untaken() < self._untaken_bytes:
            self._expect_taking()
            return
        self._house.on_closed("answer_timeout")
        self.transport.abort()

    def _untaken(self) -> int:
        # The kernel asks for more only when a good part of its megabytes is free: a slow client
        # may take from them for long before our own buffer shrinks.
        socket = self.transport.get_extra_info("socket")
        (in_kernel,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))
        return self.transport.get_write_buffer_size() + int(in_kernel)
