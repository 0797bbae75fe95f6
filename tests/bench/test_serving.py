"""The benchmark itself, so that it does not rot: the figures of these runs mean nothing."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bench.serving.__main__ import main
from tests.bench.serving.connection import HOST, Connection
from tests.bench.serving.goals import LOST, goals
from tests.bench.serving.load import Load, apply
from tests.bench.serving.requests import post
from tests.bench.serving.results import FIGURES, ServingResults

REQUEST = post("/", b"body", "text/plain")
SERVED = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"
RATIOS = {
    "throughput_over_ideal",
    "throughput_over_fastapi_1024",
    "throughput_over_fastapi_224",
    "throughput_over_kserve_sample",
    "shipped_over_best_rival",
    "auto_over_best",
    "v2_binary_over_kserve",
    "latency_over_inprocess",
    "cam_cost",
    "cam_speedup_over_grad_cam",
    "overlay_cost",
    "p99_over_p50",
    "after_cancellations",
    "body_rss_growth_mb",
    "rss_growth",
    "start_over_imports",
}


def test_a_section_writes_its_rows_and_ratios(tmp_path: Path) -> None:
    assert main(["throughput", "--quick", "--directory", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / FIGURES).read_text())
    assert set(figures) == {"cpu", "ratios", "lost", "rows"}
    assert set(figures["ratios"]) == RATIOS
    assert set(figures["lost"]) == set(LOST)
    assert figures["ratios"]["throughput_over_fastapi_1024"] > 0
    assert figures["ratios"]["start_over_imports"] is None
    rows = figures["rows"]
    assert {row["server"] for row in rows} == {
        "in-process ideal",
        "sightline fp32",
        "sightline v2 uint8",
        "fastapi",
        "kserve sample",
        "kserve v2 uint8",
        "kserve v2 fp32",
    }
    assert all(row["errors"] == 0 for row in rows)
    assert (tmp_path / "throughput.png").stat().st_size > 0


def test_an_unknown_section_is_an_error_that_lists_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "section is 'speed'; accepted: throughput, explain" in capsys.readouterr().err


async def test_a_closed_loop_counts_what_was_answered_with_200() -> None:
    async with _serving([SERVED, REFUSED]) as server:
        load = Load(server.port, (REQUEST,), clients=2, warm_up_s=0.0, window_s=0.3)
        outcome = await asyncio.to_thread(apply, load)
    assert outcome.requests_per_second > 0
    assert outcome.errors > 0
    assert len(outcome.latencies_s) > 0


@pytest.mark.parametrize(
    ("header", "connections"),
    [(b"content-length: 2", 1), (b"content-length: 2\r\nconnection: close", 3)],
)
async def test_a_connection_is_kept_unless_the_server_closes_it(
    header: bytes, connections: int
) -> None:
    reply = SERVED.replace(b"content-length: 2", header)
    async with _serving([reply]) as server:
        connection = Connection(server.port)
        for _ in range(3):
            assert (await connection.ask(REQUEST)).body == b"ok"
        connection.close()
    assert server.connections == connections


async def test_an_open_loop_blames_a_pause_on_all_who_came_meanwhile() -> None:
    async with _serving([SERVED], pause_s=0.05) as server:
        load = Load(server.port, (REQUEST,), rate=100.0, warm_up_s=0.0, window_s=0.3)
        outcome = await asyncio.to_thread(apply, load)
    assert outcome.errors == 0
    # One comes every 0.01 s and takes 0.05 s: the last of thirty waits for more than a second.
    assert max(outcome.latencies_s) > 0.5


def test_earlier_sections_are_kept_and_lost_requests_are_added_up(tmp_path: Path) -> None:
    results = ServingResults(tmp_path, samples={"cam_cost": [1.0, 1.4, 1.1], "sigterm": [0.0, 2.0]})
    results.notes["explain"] = ["a word"]
    results.save()
    kept = ServingResults.load(tmp_path)
    assert kept.figures()["ratios"]["cam_cost"] == 1.1
    assert kept.figures()["lost"]["sigterm"] == 2
    assert kept.figures()["lost"]["broken_images"] is None
    kept.forget("explain")
    assert kept.notes == {}


@pytest.mark.parametrize(
    ("key", "good", "bad"), [("cam_cost", 1.05, 1.06), ("auto_over_best", 0.95, 0.94)]
)
def test_a_goal_knows_which_side_is_better(key: str, good: float, bad: float) -> None:
    (goal,) = (each for each in goals() if each.key == key)
    assert goal.met(good)
    assert not goal.met(bad)


@dataclass
class _Server:
    port: int = 0
    connections: int = 0


@asynccontextmanager
async def _serving(replies: list[bytes], pause_s: float = 0.0) -> AsyncIterator[_Server]:
    """Answers with each reply in turn, one request at a time."""
    found, turn, counter = _Server(), asyncio.Lock(), itertools.count()
    handlers: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        with suppress(ConnectionError):
            while await reader.read(len(REQUEST)):
                async with turn:
                    await asyncio.sleep(pause_s)
                    writer.write(replies[next(counter) % len(replies)])
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.create_task(answer(reader, writer)))

    async with await asyncio.start_server(accept, HOST, 0) as server:
        found.port = int(server.sockets[0].getsockname()[1])
        yield found
        await asyncio.gather(*handlers)
