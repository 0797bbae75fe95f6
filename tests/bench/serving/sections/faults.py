"""What goes wrong in a day: users that give up, broken files among good ones, and a restart.

A request is lost if it was in order and was not answered with 200 and the right answer.
"""

import asyncio
import itertools
import json
import signal
import time
from collections.abc import Callable
from statistics import median

from tests.bench.recorder import say
from tests.bench.results import Samples
from tests.bench.serving.connection import Connection, Reply
from tests.bench.serving.images import Picture
from tests.bench.serving.measure import Bench
from tests.bench.serving.sections.throughput import LARGE, PINNED
from tests.bench.serving.servers import Running, sightline

_IMPATIENT, _PATIENT = 20, 2
_GIVE_UP_S = 0.05
_IDLE_REQUESTS = 20
_MIXED_USERS = 16
_BROKEN_SHARE = 4
_SIGTERM_USERS = 50
# How long a proxy may go on sending after the server has said that it is not ready.
_ENDPOINT_DELAY_S = 0.5
_POLL_S = 0.05
_DIFFERENCE = 0.01


def measure(bench: Bench) -> None:
    """Users that give up and broken files on one server; each restart on a server of its own."""
    bundle = bench.bundle(bench.scale.architectures[0])
    server = sightline("sightline", bundle.path, *PINNED)
    requests = bench.requests(server, LARGE)
    broken = [server.encode(each) for each in _broken(bench.pictures(LARGE)[0])]
    samples = Samples()
    with bench.started([server]) as started:
        running = started[server.name]
        running.resume()
        for _ in range(bench.scale.rounds):
            idle_s, after_s, lost = asyncio.run(_storm(running.port, requests, bench.scale.storm_s))
            say(f"  {1e3 * idle_s:.1f} ms when idle, {1e3 * after_s:.1f} ms after the storm")
            samples.add("after_cancellations", after_s / idle_s)
            samples.add("cancellations", lost)
        for _ in range(bench.scale.rounds):
            lost = asyncio.run(_mixed(running.port, requests, broken, bench.scale.window_s))
            samples.add("broken_images", lost)
    for _ in range(bench.scale.rounds):
        with bench.started([server]) as started:
            running = started[server.name]
            running.resume()
            lost, status = asyncio.run(_restart(running, requests, bench.scale.window_s))
            samples.add("sigterm", lost)
            if status != 0:
                bench.note(f"after SIGTERM the server ended with status {status}")
    bench.keep(samples)


async def _storm(port: int, requests: list[bytes], seconds: float) -> tuple[float, float, int]:
    """Users that give up, with two that do not; then one request.

    Returns:
        Seconds of a request to the idle server, seconds of the last one, and how many were lost.
    """
    connection, idle_s = Connection(port), []
    for number in range(_IDLE_REQUESTS):
        started = time.perf_counter()
        await connection.ask(requests[number % len(requests)])
        idle_s.append(time.perf_counter() - started)
    users = _Users(port, requests, lambda _number, reply: reply.ok)
    end = time.perf_counter() + seconds

    async def give_up() -> None:
        for request in itertools.cycle(requests):
            if time.perf_counter() >= end:
                return
            await Connection(port).ask(request, _GIVE_UP_S)

    patient = asyncio.create_task(users.ask(_PATIENT))
    await asyncio.gather(*(give_up() for _ in range(_IMPATIENT)))
    users.stopping = True
    started = time.perf_counter()
    reply = await connection.ask(requests[0])
    after_s = time.perf_counter() - started
    await patient
    connection.close()
    return median(idle_s), after_s, users.lost + (not reply.ok)


async def _mixed(port: int, good: list[bytes], broken: list[bytes], seconds: float) -> int:
    """Every fourth request is of a broken file; the others must get their own image's answer."""
    connection = Connection(port)
    expected = [_probabilities(await connection.ask(request)) for request in good]
    connection.close()
    mixed = [
        broken[number // _BROKEN_SHARE % len(broken)]
        if number % _BROKEN_SHARE == 0
        else good[number % len(good)]
        for number in range(len(good) * len(broken) * _BROKEN_SHARE)
    ]

    def right(number: int, reply: Reply) -> bool:
        if number % len(mixed) % _BROKEN_SHARE == 0:
            return 400 <= reply.status < 500
        return reply.ok and _alike(_probabilities(reply), expected[number % len(mixed) % len(good)])

    users = _Users(port, mixed, right)
    asking = asyncio.create_task(users.ask(_MIXED_USERS))
    await asyncio.sleep(seconds)
    users.stopping = True
    await asking
    return users.lost


async def _restart(running: Running, requests: list[bytes], seconds: float) -> tuple[int, int]:
    """SIGTERM under load; users stop coming a moment after the server says that it is not ready.

    Returns:
        How many requests were lost, and the server's exit status.
    """
    users = _Users(running.port, requests, lambda _number, reply: reply.ok)
    asking = asyncio.create_task(users.ask(_SIGTERM_USERS))
    await asyncio.sleep(seconds)
    running.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(_wait_until_not_ready, running)
    await asyncio.sleep(_ENDPOINT_DELAY_S)
    users.stopping = True
    await asking
    return users.lost, await asyncio.to_thread(running.process.wait, 60.0)


def _wait_until_not_ready(running: Running) -> None:
    while running.is_ready():
        time.sleep(_POLL_S)


class _Users:
    """Users that ask one request after the other, each in its turn, until told to stop."""

    def __init__(
        self, port: int, requests: list[bytes], right: Callable[[int, Reply], bool]
    ) -> None:
        self._port = port
        self._requests = requests
        self._right = right
        self._numbers = itertools.count()
        self.stopping = False
        self.lost = 0

    async def ask(self, users: int) -> None:
        await asyncio.gather(*(self._ask() for _ in range(users)))

    async def _ask(self) -> None:
        connection = Connection(self._port)
        while not self.stopping:
            number = next(self._numbers)
            reply = await connection.ask(self._requests[number % len(self._requests)])
            if not self._right(number, reply):
                self.lost += 1
                await asyncio.sleep(_POLL_S)
        connection.close()


def _broken(picture: Picture) -> list[Picture]:
    """Cut short, damaged inside, not an image at all, and nothing."""
    jpeg = picture.jpeg
    damaged = jpeg[:400] + bytes(400) + jpeg[800:2000]
    return [picture._replace(jpeg=each) for each in (jpeg[:3000], damaged, b"no image", b"")]


def _probabilities(reply: Reply) -> list[float]:
    return list(json.loads(reply.body)["predictions"][0]["probabilities"].values())


def _alike(found: list[float], expected: list[float]) -> bool:
    return all(abs(a - b) < _DIFFERENCE for a, b in zip(found, expected, strict=True))
