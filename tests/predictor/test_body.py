import asyncio
import time
from collections.abc import Callable

import pytest
from starlette.requests import Request
from starlette.types import Message

from predictor.body import read_body, unless_gone
from predictor.errors import (
    ClientGoneError,
    ContentTypeError,
    DeadlineError,
    MalformedRequestError,
    TooLargeError,
)

LATER = 60.0


class Client:
    """Sends the messages it is given, then is silent."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)
        self.received = 0

    async def __call__(self) -> Message:
        if not self._messages:
            await asyncio.Event().wait()
        self.received += 1
        return self._messages.pop(0)


def chunk(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


def request(client: Client, **headers: str) -> Request:
    raw = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, client)


def deadline() -> float:
    return time.monotonic() + LATER


async def test_chunks_are_put_together_up_to_the_limit() -> None:
    client = Client(chunk(b"abc", more=True), chunk(b"", more=True), chunk(b"de"))
    assert await read_body(request(client), 5, deadline()) == b"abcde"


async def test_a_declared_length_is_refused_before_anything_is_read() -> None:
    client = Client(chunk(b"abcdef"))
    with pytest.raises(TooLargeError, match="has 6 bytes; at most 5"):
        await read_body(request(client, content_length="6"), 5, deadline())
    assert client.received == 0


async def test_an_undeclared_length_is_refused_as_soon_as_it_is_passed() -> None:
    client = Client(chunk(b"abc", more=True), chunk(b"def", more=True), chunk(b"ghi"))
    with pytest.raises(TooLargeError, match="more than 5 bytes"):
        await read_body(request(client), 5, deadline())
    assert client.received == 2


@pytest.mark.parametrize("value", ["-1", "a", "1e3", "7x"])
async def test_a_length_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequestError, match="content-length"):
        await read_body(request(Client(), content_length=value), 5, deadline())


async def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(ContentTypeError, match="'gzip'; accepted: identity"):
        await read_body(request(Client(), content_encoding="gzip"), 5, deadline())
    plain = request(Client(chunk(b"x")), content_encoding="Identity")
    assert await read_body(plain, 5, deadline()) == b"x"


async def test_a_client_that_sends_too_slowly_is_given_up() -> None:
    client = Client(chunk(b"abc", more=True))
    with pytest.raises(DeadlineError, match="did not arrive"):
        await read_body(request(client), 5, time.monotonic() + 0.02)


async def test_a_client_that_hangs_up_while_sending_is_noticed() -> None:
    client = Client(chunk(b"abc", more=True), GONE)
    with pytest.raises(ClientGoneError):
        await read_body(request(client), 5, deadline())


@pytest.mark.parametrize("outcome", [lambda: "done", lambda: 1 / 0])
async def test_work_ends_as_it_ends_while_the_client_waits(outcome: Callable[[], object]) -> None:
    async def work() -> object:
        await asyncio.sleep(0)
        return outcome()

    waiting = asyncio.create_task(unless_gone(request(Client()), work()))
    results = await asyncio.gather(waiting, return_exceptions=True)
    assert results[0] == "done" or isinstance(results[0], ZeroDivisionError)


async def test_work_is_cancelled_when_the_client_hangs_up() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(ClientGoneError):
        await unless_gone(request(Client(GONE)), work())
    await asyncio.sleep(0)
    assert ended == ["cancelled"]
