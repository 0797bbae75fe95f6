"""Clients that give up after 50 ms, over and over: what they abandon is not run."""

import asyncio
import signal
import socket
import time
from collections.abc import Iterator

import grpc
import httpx
import numpy as np
import numpy.typing as npt
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from model.bundle import Bundle
from tests.predictor.bundles import jpeg, png
from tests.predictor.servers import RunningServer, eventually, sample, stub_of

PATH = "/v1/models/tiny:explain"
BURST_S = 1.5
PATIENCE_S = 0.05
CLIENTS = 24


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[RunningServer]:
    flags = ["--engine", "onnxruntime", "--decode_threads", "1", "--max_queue", "64"]
    with RunningServer(["--bundle", str(bundle.path), *flags]) as running:
        running.wait_until_ready()
        yield running


def images(server: RunningServer, stage: str) -> float:
    return sample(server, f'sightline_images_total{{stage="{stage}"}}')


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
async def test_a_burst_of_impatient_clients_leaves_no_backlog(
    server: RunningServer, pictures: npt.NDArray[np.uint8], protocol: str
) -> None:
    # A large picture in a small file: a thread is busy with it for longer than they wait.
    slow = png(np.full((4000, 4000, 3), 90, np.uint8))
    message = pb.ModelInferRequest(model_name="tiny")
    tensor = message.inputs.add(name="image", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(slow)
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n"
        f"content-length: {len(slow)}\r\n\r\n"
    ).encode()
    given_up = 0
    before = {stage: images(server, stage) for stage in ("admitted", "decoded")}

    async def rest(end: float) -> None:
        nonlocal given_up
        while time.monotonic() < end:
            _, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
            writer.write(head + slow)
            await writer.drain()
            await asyncio.sleep(PATIENCE_S)
            writer.close()
            given_up += 1

    async def rpc(end: float, stub: object) -> None:
        nonlocal given_up
        while time.monotonic() < end:
            try:
                await stub.ModelInfer(message, timeout=PATIENCE_S)  # type: ignore[attr-defined]
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                    await asyncio.sleep(PATIENCE_S)
            given_up += 1

    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
        httpx.AsyncClient(base_url=server.url, timeout=60.0) as client,
    ):
        stub = stub_of(channel)
        end = time.monotonic() + BURST_S
        work = [rest(end) if protocol == "rest" else rpc(end, stub) for _ in range(CLIENTS)]
        await asyncio.gather(*work)
        await eventually(client, "/metrics", "sightline_inflight 0.0")
        after_burst = images(server, "decoded")
        good = await client.post(
            PATH, content=jpeg(pictures[0]), headers={"content-type": "image/jpeg"}
        )
        assert good.status_code == 200
    assert given_up > 2 * CLIENTS
    admitted = images(server, "admitted") - before["admitted"] - 1
    decoded = after_burst - before["decoded"]
    assert decoded < admitted / 2, "most were dropped while they waited for the thread"
    assert images(server, "decoded") == after_burst + 1, "nothing was left to be done"
    assert images(server, "answered") == images(server, "drawn")


def test_a_request_whose_client_is_gone_when_it_is_read_is_not_begun(
    server: RunningServer, pictures: npt.NDArray[np.uint8]
) -> None:
    picture = png(pictures[0])
    gone = 'sightline_connections_closed_total{reason="gone"}'
    before, closed = images(server, "admitted"), sample(server, gone)
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n"
        f"content-length: {len(picture)}\r\n\r\n"
    ).encode()
    # A server that is so busy that it reads nothing for a while.
    server.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", server.http_port)) as connection:
                connection.sendall(head + picture)
    finally:
        server.process.send_signal(signal.SIGCONT)
    end = time.monotonic() + 60.0
    while sample(server, gone) < closed + 50:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert images(server, "admitted") == before
