"""The request's body, never more of it than is accepted."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypedDict, TypeVar

from starlette.requests import ClientDisconnect, Request

from predictor.errors import (
    ClientGoneError,
    ContentTypeError,
    DeadlineError,
    MalformedRequestError,
    SlowRequestError,
    TooLargeError,
)
from predictor.query import is_number

# Of a body without Content-Length, which cannot be refused before its bytes are here.
UNDECLARED_BYTES = 12 * 1024 * 1024

T = TypeVar("T")


class Bounds(TypedDict):
    """The bounds of :func:`read_body` together."""

    max_bytes: int
    deadline: float
    pause_s: float
    hold: Callable[[int], None]


async def read_body(
    request: Request,
    max_bytes: int,
    deadline: float,
    pause_s: float = math.inf,
    hold: Callable[[int], None] | None = None,
) -> bytearray:
    """Read the whole body.

    Args:
        request: whose body has not been read.
        max_bytes: most that is accepted; :data:`UNDECLARED_BYTES` if its length is not declared.
        deadline: `time.monotonic()` until which it must have arrived.
        pause_s: longest silence of the client within it.
        hold: told the size of every chunk before it is kept; may refuse it.

    Raises:
        TooLargeError: by Content-Length before anything is read, else as soon as it is passed.
        ContentTypeError: the body is compressed.
        DeadlineError: it comes too slowly.
        SlowRequestError: it stops coming.
        ClientGoneError: the client hung up before the end.
    """
    body = bytearray()
    async for chunk in stream_body(request, max_bytes, deadline, pause_s, hold):
        body += chunk
    return body


async def stream_body(
    request: Request,
    max_bytes: int,
    deadline: float,
    pause_s: float = math.inf,
    hold: Callable[[int], None] | None = None,
) -> AsyncGenerator[bytes, None]:
    """The body's chunks; fails as :func:`read_body` does."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ContentTypeError(f"content-encoding is {encoding[:40]!r}; accepted: identity")
    declared = _content_length(request)
    if declared is None:
        max_bytes = min(max_bytes, UNDECLARED_BYTES)
    elif declared > max_bytes:
        raise _too_large(f"{declared:,} bytes", max_bytes)
    received = 0
    chunks = request.stream()
    while True:
        left_s = deadline - time.monotonic()
        try:
            async with asyncio.timeout(min(left_s, pause_s)):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if pause_s < left_s:
                raise SlowRequestError(f"nothing of the body came for {pause_s:g} s") from None
            raise DeadlineError("the request did not arrive before its deadline") from None
        except ClientDisconnect:
            raise ClientGoneError("the client hung up while sending") from None
        received += len(chunk)
        if received > max_bytes:
            size = f"more than {max_bytes:,} bytes"
            raise _too_large(size if declared is not None else f"{size} undeclared", max_bytes)
        if chunk:
            if hold is not None:
                hold(len(chunk))
            yield chunk


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work; when the client hangs up, cancel it. The body must have been read.

    Raises:
        ClientGoneError: the client hung up first.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError("the client hung up")
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _content_length(request: Request) -> int | None:
    value = request.headers.get("content-length")
    if value is None:
        return None
    if not is_number(value):
        raise MalformedRequestError(f"content-length is {value[:40]!r}; an integer is expected")
    return int(value)


def _too_large(size: str, max_bytes: int) -> TooLargeError:
    return TooLargeError(f"the request has {size}; at most {max_bytes:,} are accepted")
