"""Real sockets against a real server: bad manners cost the server neither memory nor its life."""

import asyncio
import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import numpy.typing as npt
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from model.bundle import Bundle
from tests.predictor.bundles import png
from tests.predictor.payloads import json_request
from tests.predictor.servers import RunningServer, eventually, sample, stub_of

INFER = "/v2/models/tiny/infer"
PREDICT = "/v1/models/tiny:predict"
PNG = {"content-type": "image/png"}
MIB = 1 << 20


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[RunningServer]:
    """Small bounds, and short patience."""
    flags = {
        "max_body_bytes": 4 * MIB,
        "max_upload_bytes": 12 * MIB,
        "max_requests": 300,
        "max_connections": 400,
        "client_timeout_s": 1,
        "max_pixels": 64_000_000,
        "decode_threads": 2,
    }
    arguments = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    with RunningServer(
        ["--bundle", str(bundle.path), "--engine", "onnxruntime", *arguments]
    ) as running:
        running.wait_until_ready()
        # What the first request allocates for good is no growth.
        image = png(np.full((512, 512, 3), 90, np.uint8))
        for _ in range(20):
            httpx.post(running.url + PREDICT, content=image, headers=PNG)
        yield running


def peak_mib(server: RunningServer) -> float:
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


def forget_peak(server: RunningServer) -> float:
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
    return peak_mib(server)


def connect(server: RunningServer) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.http_port))
    connection.settimeout(60.0)
    return connection


def head(path: str = PREDICT, *lines: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: x", *lines, "", ""]).encode()


def send_until_closed(
    connection: socket.socket, data: bytes, times: int, pause_s: float = 0.0
) -> int:
    """How many times it could be sent."""
    for count in range(times):
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return count
        time.sleep(pause_s)
    return times


def until_closed(connection: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def good(server: RunningServer, pictures: npt.NDArray[np.uint8]) -> None:
    answer = httpx.post(server.url + PREDICT, content=png(pictures[0]), headers=PNG, timeout=60.0)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("form", ["declared", "chunked", "form"])
def test_a_body_of_200_mb_is_refused_and_not_kept(
    server: RunningServer, pictures: npt.NDArray[np.uint8], form: str
) -> None:
    before = forget_peak(server)
    block = b"\0" * MIB
    if form == "declared":
        lines = (*PNG.items(), ("content-length", str(200 * MIB)))
    elif form == "chunked":
        lines = (*PNG.items(), ("transfer-encoding", "chunked"))
    else:
        lines = (
            ("content-type", "multipart/form-data; boundary=b"),
            ("transfer-encoding", "chunked"),
        )
    start = b'--b\r\ncontent-disposition: form-data; name="f"; filename="f"\r\n\r\n'
    with connect(server) as connection:
        connection.sendall(head(PREDICT, *(f"{key}: {value}" for key, value in lines)))
        if form == "form":
            connection.sendall(b"%x\r\n%s\r\n" % (len(start), start))
        for _ in range(200):
            connection.sendall(block if form == "declared" else b"%x\r\n%s\r\n" % (MIB, block))
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"at most 4,194,304 are accepted" in answer
    assert peak_mib(server) - before <= 20.0
    good(server, pictures)


def test_a_grpc_message_of_200_mb_is_refused_and_not_kept(
    server: RunningServer, pictures: npt.NDArray[np.uint8]
) -> None:
    before = forget_peak(server)
    message = pb.ModelInferRequest(model_name="tiny", raw_input_contents=[b"\0" * (200 * MIB)])
    unbounded = [("grpc.max_send_message_length", -1)]
    with (
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", unbounded) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        stub_of(channel).ModelInfer(message)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in str(caught.value.details())
    assert peak_mib(server) - before <= 20.0
    good(server, pictures)


def header_only_png(width: int, height: int) -> bytes:
    """A PNG that claims a size, of rows of zeros as far as 64 KiB of them go."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(64 * 1024))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (60_000, 60_000)])
def test_an_image_of_too_many_pixels_is_refused_before_they_are_allocated(
    server: RunningServer, pictures: npt.NDArray[np.uint8], width: int, height: int
) -> None:
    before = forget_peak(server)
    bomb = header_only_png(width, height)
    answer = httpx.post(server.url + PREDICT, content=bomb, headers=PNG, timeout=60.0)
    assert answer.status_code == 413
    assert f"image is {width} x {height} = {width * height:,} pixels" in answer.json()["error"]
    assert peak_mib(server) - before <= 20.0
    good(server, pictures)


def test_a_text_that_inflates_without_end_is_refused(
    server: RunningServer, pictures: npt.NDArray[np.uint8]
) -> None:
    text = b"note\0\0" + zlib.compress(bytes(300 * MIB))
    chunk = (
        struct.pack(">I", len(text))
        + b"zTXt"
        + text
        + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    )
    image = png(pictures[0])
    before = forget_peak(server)
    # After the first chunk, IHDR: 8 bytes of signature and 25 of its own.
    bomb = image[:33] + chunk + image[33:]
    answer = httpx.post(server.url + PREDICT, content=bomb, headers=PNG, timeout=60.0)
    assert answer.status_code == 400
    assert "damaged PNG image" in answer.json()["error"]
    assert peak_mib(server) - before <= 20.0


def test_hundreds_of_half_sent_bodies_are_bounded_in_bytes_and_in_time(
    server: RunningServer, pictures: npt.NDArray[np.uint8]
) -> None:
    before = forget_peak(server)
    held = []
    part = b"\0" * (96 * 1024)
    for _ in range(250):
        connection = connect(server)
        connection.sendall(head(PREDICT, "content-type: image/png", f"content-length: {MIB}"))
        connection.sendall(part)
        held.append(connection)
    answers = [until_closed(connection) for connection in held]
    for connection in held:
        connection.close()
    statuses = [answer.split(b" ")[1] for answer in answers if answer]
    # 12 MiB hold the parts of 128 clients; the rest is told to come again.
    assert {b"408", b"429"} >= set(statuses)
    assert statuses.count(b"429") >= 100
    assert statuses.count(b"408") >= 100
    assert all(b"retry-after: 1" in answer for answer in answers if b" 429 " in answer[:20])
    # 250 x 96 KiB were sent; what is held is the 12 MiB, and a connection's own few kilobytes.
    assert peak_mib(server) - before <= 60.0
    good(server, pictures)
    assert sample(server, "sightline_upload_bytes") == 0.0


def test_every_limit_is_scraped_beside_what_it_limits(server: RunningServer) -> None:
    assert sample(server, "sightline_upload_limit_bytes") == 12 * MIB
    assert sample(server, "sightline_inflight_limit") == 300
    assert sample(server, "sightline_connections_limit") == 400
    assert sample(server, "sightline_admitted_images_limit") == 128


def test_hundreds_of_half_sent_heads_and_silent_connections_are_closed(
    server: RunningServer, pictures: npt.NDArray[np.uint8]
) -> None:
    silent = [connect(server) for _ in range(150)]
    half = [connect(server) for _ in range(150)]
    for connection in half:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\nx-slow: ")
    for _ in range(3):
        good(server, pictures)
    for connection in half:
        assert until_closed(connection).startswith(b"HTTP/1.1 408 Request Timeout")
        connection.close()
    for connection in silent:
        assert until_closed(connection) == b""
        connection.close()
    assert sample(server, 'sightline_connections_closed_total{reason="head_timeout"}') >= 300.0


def test_one_byte_at_a_time_does_not_keep_a_connection(server: RunningServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200 OK" in connection.recv(65536)
        sent = send_until_closed(connection, b"G", 1000, pause_s=0.05)
    assert sent < 1000


@pytest.mark.parametrize("where", ["head", "trailer"])
def test_a_head_or_trailer_without_end_is_refused(server: RunningServer, where: str) -> None:
    before = forget_peak(server)
    with connect(server) as connection:
        if where == "head":
            connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\nx-long: ")
        else:
            connection.sendall(
                head(PREDICT, "content-type: image/png", "transfer-encoding: chunked")
            )
            connection.sendall(b"1\r\nx\r\n0\r\nx-long: ")
        assert send_until_closed(connection, b"a" * MIB, 200) < 200
    assert peak_mib(server) - before <= 20.0


def test_when_connections_run_out_the_silent_ones_give_way(
    server: RunningServer, pictures: npt.NDArray[np.uint8]
) -> None:
    held = [connect(server) for _ in range(450)]
    good(server, pictures)
    assert httpx.get(server.url + "/v2/health/live").status_code == 200
    assert sample(server, 'sightline_connections_closed_total{reason="limit"}') >= 50.0
    for connection in held:
        connection.close()


def test_a_client_that_does_not_take_its_answer_is_let_go(server: RunningServer) -> None:
    closed = 'sightline_connections_closed_total{reason="answer_timeout"}'
    before = sample(server, closed)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.http_port))
        # Asked for and never read: the answers do not fit into the buffers of the sockets.
        connection.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 3000)
        end = time.monotonic() + 60.0
        while sample(server, closed) == before:
            assert time.monotonic() < end
            time.sleep(0.1)
    assert "Exception in ASGI application" not in server.log()


@pytest.fixture(scope="module")
def generous(bundle: Bundle) -> Iterator[RunningServer]:
    """Large answers, and short patience."""
    arguments = ["--bundle", str(bundle.path), "--engine", "onnxruntime", "--client_timeout_s", "1"]
    with RunningServer(arguments) as running:
        running.wait_until_ready()
        yield running


def ask_for_a_large_answer(server: RunningServer) -> socket.socket:
    """A connection on which some 10 MB of pictures are asked for, more than sockets hold."""
    noise = np.random.default_rng(3).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    picture = {"name": "display", "parameters": {"binary_data": True}}
    body = json.dumps(json_request(*[png(noise)] * 14, outputs=[picture])).encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.settimeout(60.0)
    connection.connect(("127.0.0.1", server.http_port))
    lines = ("content-type: application/json", f"content-length: {len(body)}", "connection: close")
    connection.sendall(head(INFER, *lines) + body)
    return connection


def test_a_client_that_takes_its_answer_slowly_but_steadily_gets_all_of_it(
    generous: RunningServer,
) -> None:
    with ask_for_a_large_answer(generous) as connection:
        received, began = connection.recv(65536), time.monotonic()
        while chunk := connection.recv(65536):
            received += chunk
            time.sleep(0.02)
        took_s = time.monotonic() - began
    start, _, body = received.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 200 OK")
    assert f"content-length: {len(body)}".encode() in start
    assert len(body) > 9_000_000
    assert took_s > 2.0, "longer than a client may pause"


def test_a_client_that_stops_in_the_middle_of_its_answer_is_let_go(
    generous: RunningServer,
) -> None:
    closed = 'sightline_connections_closed_total{reason="answer_timeout"}'
    before = sample(generous, closed)
    with ask_for_a_large_answer(generous) as connection:
        for _ in range(100):
            assert connection.recv(65536)
            time.sleep(0.02)
        assert sample(generous, closed) == before
        end = time.monotonic() + 20.0
        while sample(generous, closed) == before:
            assert time.monotonic() < end
            time.sleep(0.1)


async def test_a_full_house_says_429_in_both_protocols(bundle: Bundle, tmp_path: Path) -> None:
    from tests.predictor.test_lifecycle import HOLDING_IMAGES

    gate = tmp_path / "gate"
    launcher = ("-c", HOLDING_IMAGES.format(gate=str(gate)))
    arguments = ["--bundle", str(bundle.path), "--engine", "onnxruntime", "--max_queue", "3"]
    image = png(np.full((64, 64, 3), 90, np.uint8))
    message = pb.ModelInferRequest(model_name="tiny")
    tensor = message.inputs.add(name="image", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(image)
    with RunningServer(arguments, launcher=launcher) as running:
        running.wait_until_ready()
        async with (
            httpx.AsyncClient(base_url=running.url, timeout=60.0) as client,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel,
        ):
            held = [
                asyncio.create_task(client.post(PREDICT, content=image, headers=PNG))
                for _ in range(3)
            ]
            await eventually(client, "/metrics", 'sightline_images_total{stage="admitted"} 3.0')
            text = (await client.get("/metrics")).text
            assert "sightline_admitted_images 3.0" in text
            assert "sightline_admitted_images_limit 3.0" in text
            full = await client.post(PREDICT, content=image, headers=PNG)
            assert (full.status_code, int(full.headers["retry-after"]) >= 1) == (429, True)
            assert "at most 3 are accepted at once" in full.json()["error"]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub_of(channel).ModelInfer(message)
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "retry-after" in dict(caught.value.trailing_metadata())
            late = await client.post(PREDICT, content=image, headers={**PNG, "timeout": "0.05"})
            assert late.status_code == 429
            gate.touch()
            assert [answer.status_code for answer in await asyncio.gather(*held)] == [200] * 3
            assert "sightline_admitted_images 0.0" in (await client.get("/metrics")).text


async def test_a_deadline_of_each_form_ends_a_request_before_it_is_computed(
    bundle: Bundle, tmp_path: Path
) -> None:
    from tests.predictor.test_lifecycle import HOLDING_IMAGES

    gate = tmp_path / "gate"
    launcher = ("-c", HOLDING_IMAGES.format(gate=str(gate)))
    flags = ["--decode_threads", "1", "--engine", "onnxruntime"]
    image = png(np.full((64, 64, 3), 90, np.uint8))
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    with RunningServer(["--bundle", str(bundle.path), *flags], launcher=launcher) as running:
        running.wait_until_ready()
        async with (
            httpx.AsyncClient(base_url=running.url, timeout=60.0) as client,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel,
        ):
            kept = asyncio.create_task(client.post(PREDICT, content=image, headers=PNG))
            await eventually(client, "/metrics", 'sightline_images_total{stage="decoded"} 1.0')

            async def rest(headers: dict[str, str], parameters: dict[str, Any]) -> int:
                document = {
                    "inputs": [{**tensor, "parameters": {"binary_data_size": len(image) + 4}}],
                    "parameters": parameters,
                }
                start = json.dumps(document).encode()
                headers |= {"inference-header-content-length": str(len(start))}
                body = start + struct.pack("<I", len(image)) + image
                return (await client.post(INFER, content=body, headers=headers)).status_code

            assert await rest({"timeout": "0.05"}, {}) == 504
            assert await rest({"x-envoy-expected-rq-timeout-ms": "50"}, {}) == 504
            assert await rest({}, {"timeout": 50_000}) == 504
            assert await rest({"timeout": "soon"}, {}) == 400
            assert await rest({}, {"timeout": "soon"}) == 400
            message = pb.ModelInferRequest(model_name="tiny")
            message.inputs.add(**tensor).contents.bytes_contents.append(image)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub_of(channel).ModelInfer(message, timeout=0.2)
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            message.parameters["timeout"].int64_param = 50_000
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub_of(channel).ModelInfer(message, timeout=60.0)
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            cancelled = stub_of(channel).ModelInfer(pb.ModelInferRequest.FromString(
                message.SerializeToString().replace(b"timeout", b"comment")
            ))  # fmt: skip
            await eventually(client, "/metrics", 'sightline_images_total{stage="admitted"} 7.0')
            cancelled.cancel()
            await eventually(client, "/metrics", "sightline_inflight 1.0")
            gate.touch()
            assert (await kept).status_code == 200
            assert (await client.post(PREDICT, content=image, headers=PNG)).status_code == 200
            text = (await client.get("/metrics")).text
    # The first and the last; of the seven that were given up none was begun.
    for stage, count in {"admitted": 8, "decoded": 2, "inferred": 2, "answered": 2}.items():
        assert f'sightline_images_total{{stage="{stage}"}} {count}.0' in text
