"""The clients of a load, in a process of their own: `python -m tests.bench.serving.clients`."""

import asyncio
import itertools
import pickle
import sys
import time
from contextlib import suppress
from typing import NamedTuple

import uvloop

from tests.bench.processes import cpu_s
from tests.bench.serving.connection import Connection
from tests.bench.serving.load import WARM_UP_LIMIT_S, Load, Outcome

_PAUSE_S = 0.02


class _Done(NamedTuple):
    started: float
    ended: float
    ok: bool


class _Generator:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._done: list[_Done] = []
        self._requests = itertools.cycle(load.requests)
        self._warm = asyncio.Event()
        self._stopping = False

    async def run(self) -> Outcome:
        if self._load.rate is None:
            return await self._measure(
                [asyncio.create_task(self._client()) for _ in range(self._load.clients)]
            )
        return await self._measure([asyncio.create_task(self._send_at(self._load.rate))])

    async def _client(self) -> None:
        connection = Connection(self._load.port)
        while not self._stopping:
            if not await self._ask(connection, time.perf_counter()):
                # Refusals come at once, and asking again at once would only make more of them.
                await asyncio.sleep(_PAUSE_S)
        connection.close()

    async def _send_at(self, rate: float) -> None:
        idle: list[Connection] = []
        under_way: set[asyncio.Task[None]] = set()

        async def send(intended: float) -> None:
            connection = idle.pop() if idle else Connection(self._load.port)
            await self._ask(connection, intended)
            idle.append(connection)

        first = time.perf_counter()
        for number in itertools.count():
            intended = first + number / rate
            await asyncio.sleep(max(0.0, intended - time.perf_counter()))
            if self._stopping:
                break
            task = asyncio.create_task(send(intended))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if under_way:
            await asyncio.wait(under_way)
        for connection in idle:
            connection.close()

    async def _ask(self, connection: Connection, started: float) -> bool:
        reply = await connection.ask(next(self._requests))
        self._done.append(_Done(started, time.perf_counter(), reply.ok))
        if len(self._done) >= self._load.clients:
            self._warm.set()
        return reply.ok

    async def _measure(self, tasks: list[asyncio.Task[None]]) -> Outcome:
        load = self._load
        await asyncio.sleep(load.warm_up_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._warm.wait(), WARM_UP_LIMIT_S)
        begin, server_cpu, client_cpu = time.perf_counter(), cpu_s(load.pids), time.process_time()
        await asyncio.sleep(load.window_s)
        end = time.perf_counter()
        server_cpu = cpu_s(load.pids) - server_cpu
        client_cpu = time.process_time() - client_cpu
        self._stopping = True
        await asyncio.gather(*tasks)
        sent = [each for each in self._done if begin <= each.started < end]
        answered = sum(each.ok for each in self._done if begin <= each.ended < end) or 1
        return Outcome(
            requests_per_second=self._rate(begin, end),
            latencies_s=[each.ended - each.started for each in sent if each.ok],
            errors=sum(not each.ok for each in sent),
            cpu_s=server_cpu / answered,
            client_cpu_s=client_cpu / answered,
        )

    def _rate(self, begin: float, end: float) -> float:
        # From the last answer before the window to the last one in it: answers come in batches,
        # and a window that cuts one in two would count it wrongly.
        ended = sorted(each.ended for each in self._done if each.ok)
        before = [moment for moment in ended if moment < begin]
        # The first one counts even if it came after the end, or a slow server would have none.
        within = [m for m in ended[len(before) :] if m < end] or ended[len(before) :][:1]
        if not within:
            return 0.0
        since = before[-1] if before else begin
        return len(within) / (within[-1] - since)


def main() -> None:
    load = pickle.load(sys.stdin.buffer)
    outcome = uvloop.run(_Generator(load).run())
    sys.stdout.buffer.write(pickle.dumps(outcome))


if __name__ == "__main__":
    main()
