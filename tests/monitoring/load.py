"""Clients of all kinds, few at once: right, wrong, greedy, impatient and silent ones."""

import asyncio
import itertools
import random
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence

import grpc.aio
import httpx
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from tests.predictor.bundles import jpeg, phantoms, png
from tests.predictor.payloads import json_request
from tests.predictor.servers import RunningServer, stub_of

MODEL = "tiny"
CLIENTS = 3
PREDICT, EXPLAIN = f"/v1/models/{MODEL}:predict", f"/v1/models/{MODEL}:explain"
INFER = f"/v2/models/{MODEL}/infer"
PNG, JPEG = {"content-type": "image/png"}, {"content-type": "image/jpeg"}


class Load:
    """Asks servers by turns until it is stopped; counts what it was told.

    Attributes:
        weights: of the servers, in their order; may be changed while it runs.
        told: HTTP statuses, by server.
    """

    def __init__(self, servers: Sequence[RunningServer], weights: Sequence[float]) -> None:
        self.servers = servers
        self.weights = list(weights)
        self.told: list[Counter[int]] = [Counter() for _ in servers]
        self._images = [png(each) for each in phantoms(48, seed=11)]
        self._photographs = [jpeg(each) for each in phantoms(16, seed=12)]
        self._random = random.Random(3)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    async def _run(self) -> None:
        async with httpx.AsyncClient(timeout=60.0) as client:
            kinds: list[Callable[[httpx.AsyncClient, int], Awaitable[None]]] = [
                *[self._predict] * 8,
                *[self._explain] * 4,
                self._overlay,
                self._infer,
                self._grpc,
                self._corrupt,
                self._unsupported,
                self._unknown,
                self._impatient,
                self._crowd,
                self._silent,
            ]
            turns = itertools.cycle(kinds)
            await asyncio.gather(*(self._ask(client, turns) for _ in range(CLIENTS)))

    async def _ask(
        self,
        client: httpx.AsyncClient,
        turns: Iterator[Callable[[httpx.AsyncClient, int], Awaitable[None]]],
    ) -> None:
        while not self._stopped.is_set():
            (number,) = self._random.choices(range(len(self.servers)), self.weights)
            await next(turns)(client, number)
            await asyncio.sleep(0.01)

    async def _post(
        self, client: httpx.AsyncClient, number: int, path: str, **request: object
    ) -> None:
        url = self.servers[number].url + path
        answer = await client.post(url, **request)  # type: ignore[arg-type]
        self.told[number][answer.status_code] += 1

    async def _predict(self, client: httpx.AsyncClient, number: int) -> None:
        await self._post(
            client, number, PREDICT, content=self._random.choice(self._images), headers=PNG
        )

    async def _explain(self, client: httpx.AsyncClient, number: int) -> None:
        image = self._random.choice(self._photographs)
        await self._post(client, number, EXPLAIN, content=image, headers=JPEG)

    async def _overlay(self, client: httpx.AsyncClient, number: int) -> None:
        wanted = [{"name": "label"}, {"name": "overlay"}]
        images = self._random.sample(self._images, 3)
        await self._post(client, number, INFER, json=json_request(*images, outputs=wanted))

    async def _infer(self, client: httpx.AsyncClient, number: int) -> None:
        await self._post(
            client, number, INFER, json=json_request(self._random.choice(self._images))
        )

    async def _grpc(self, client: httpx.AsyncClient, number: int) -> None:
        message = pb.ModelInferRequest(model_name=MODEL)
        tensor = message.inputs.add(name="image", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(self._random.choice(self._images))
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{self.servers[number].grpc_port}"
        ) as channel:
            await stub_of(channel).ModelInfer(message)
        self.told[number][200] += 1

    async def _corrupt(self, client: httpx.AsyncClient, number: int) -> None:
        await self._post(client, number, PREDICT, content=self._images[0][:200], headers=PNG)

    async def _unsupported(self, client: httpx.AsyncClient, number: int) -> None:
        await self._post(client, number, PREDICT, content=b"GIF89a" + bytes(64), headers=PNG)

    async def _unknown(self, client: httpx.AsyncClient, number: int) -> None:
        path = PREDICT.replace(MODEL, "other")
        await self._post(client, number, path, content=self._images[0], headers=PNG)

    async def _impatient(self, client: httpx.AsyncClient, number: int) -> None:
        headers = {**PNG, "timeout": "0.0001"}
        await self._post(client, number, PREDICT, content=self._images[0], headers=headers)

    async def _crowd(self, client: httpx.AsyncClient, number: int) -> None:
        # More at once than the house has places for.
        images = json_request(*self._images[:8])
        await asyncio.gather(*(self._post(client, number, INFER, json=images) for _ in range(6)))

    async def _silent(self, client: httpx.AsyncClient, number: int) -> None:
        connection = socket.create_connection(("127.0.0.1", self.servers[number].http_port))
        with connection:
            connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\n")
            await asyncio.sleep(1.5)
