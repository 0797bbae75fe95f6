"""How much memory a body that is too large costs, and whether explaining leaks."""

import asyncio
import itertools

from tests.bench import processes
from tests.bench.recorder import say
from tests.bench.results import Samples
from tests.bench.serving.connection import HOST, Connection
from tests.bench.serving.measure import Bench
from tests.bench.serving.requests import post, v2_image
from tests.bench.serving.sections.throughput import LARGE, SMALL
from tests.bench.serving.servers import Running, sightline

_USERS = 16
_FIRST_SHARE = 10
_MIB = 1024 * 1024
_PATH = "/v1/models/bench:predict"
_TOO_LARGE = 413


def measure(bench: Bench) -> None:
    bundle = bench.bundle(bench.scale.architectures[2])
    server = sightline("sightline", bundle.path)
    files = bench.requests(server, LARGE)
    outputs = ["probabilities", "cam", "overlay"]
    explained = [
        v2_image("/v2/models/bench/infer", picture, outputs) for picture in bench.pictures(SMALL)
    ]
    samples = Samples()
    with bench.started([server]) as started:
        running = started[server.name]
        running.resume()
        asyncio.run(_ask(running.port, files, len(files)))
        growths_mb = []
        for body in (_declared(bench.scale.body_mb), _chunked(bench.scale.body_mb)):
            growth_mb, status = _growth_mb(running, body)
            growths_mb.append(growth_mb)
            if status != _TOO_LARGE:
                bench.note(f"a body that is too large was answered {status}, not {_TOO_LARGE}")
        samples.add("body_rss_growth_mb", max(growths_mb))
        bench.note(
            "growth in MB with a length declared and without: {:.0f}, {:.0f}".format(*growths_mb)
        )
        first = bench.scale.requests // _FIRST_SHARE
        asyncio.run(_ask(running.port, explained, first))
        before = processes.rss_mb(running.pids())
        asyncio.run(_ask(running.port, explained, bench.scale.requests - first))
        after = processes.rss_mb(running.pids())
        say(f"  RSS {before:.0f} MB after {first} requests, {after:.0f} MB after ten times as many")
        samples.add("rss_growth", after / before)
    bench.keep(samples)


def _growth_mb(running: Running, body: bytes) -> tuple[float, int]:
    pids = running.pids()
    before = processes.rss_mb(pids)
    processes.reset_peak(pids)
    reply = asyncio.run(Connection(running.port).ask(body))
    return processes.peak_rss_mb(pids) - before, reply.status


def _declared(body_mb: int) -> bytes:
    return post(_PATH, bytes(body_mb * _MIB), "image/jpeg")


def _chunked(body_mb: int) -> bytes:
    """The same without saying beforehand how large it is."""
    lines = [f"POST {_PATH} HTTP/1.1", f"host: {HOST}", "content-type: image/jpeg"]
    head = "\r\n".join([*lines, "transfer-encoding: chunked", "", ""]).encode()
    chunk = f"{_MIB:x}\r\n".encode() + bytes(_MIB) + b"\r\n"
    return head + chunk * body_mb + b"0\r\n\r\n"


async def _ask(port: int, requests: list[bytes], count: int) -> None:
    numbers = itertools.count()

    async def user() -> None:
        connection = Connection(port)
        while (number := next(numbers)) < count:
            reply = await connection.ask(requests[number % len(requests)])
            assert reply.ok, reply
        connection.close()

    await asyncio.gather(*(user() for _ in range(_USERS)))
