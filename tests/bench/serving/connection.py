"""The least HTTP client that will do: it shares the CPUs with the server that is measured."""

import asyncio
from typing import NamedTuple

import httptools

HOST = "127.0.0.1"
PATIENCE_S = 60.0


class Reply(NamedTuple):
    """Status and body of an answer; status 0 if the connection broke before its end."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        return self.status == 200


BROKEN = Reply(0, b"")


class Connection(asyncio.Protocol):
    """One kept-alive connection; asks one request at a time and reopens when it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[Reply] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._kept_alive = False

    async def ask(self, request: bytes, timeout_s: float = PATIENCE_S) -> Reply:
        """Send a whole request and wait for the whole answer."""
        try:
            async with asyncio.timeout(timeout_s):
                if self._transport is None:
                    await self.open()
                return await self._exchange(request)
        except (OSError, TimeoutError):
            self.close()
            return BROKEN

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_connection(lambda: self, HOST, self._port)

    def send(self, data: bytes) -> None:
        """Send without waiting for an answer."""
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    async def _exchange(self, request: bytes) -> Reply:
        self._parser = httptools.HttpResponseParser(self)
        self._body = []
        self._reply = asyncio.get_running_loop().create_future()
        self.send(request)
        reply = await self._reply
        if not self._kept_alive:
            self.close()
        return reply

    def data_received(self, data: bytes) -> None:
        if self._reply is None or self._reply.done():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.connection_lost(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(BROKEN)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        # Once the parser has gone on to the next answer, it says no of every one.
        self._kept_alive = self._parser.should_keep_alive()
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(Reply(self._parser.get_status_code(), b"".join(self._body)))
