"""From the open socket to the last answer: readiness, failures to start, SIGTERM."""

import asyncio
import base64
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from starlette.applications import Starlette

from model.bundle import Bundle
from predictor.errors import NotReadyError, SettingError, UnknownModelError
from predictor.journal import Journal
from predictor.lifecycle import SightlineModel
from predictor.metrics import Metrics
from predictor.protocol.tensors import OUTPUTS, join_bytes
from predictor.routes import Routes
from predictor.servicer import SightlineServicer
from predictor.settings import Settings
from predictor.transport import GrpcServer, listen
from tests.predictor.bundles import altered, bend_weights, phantoms, png
from tests.predictor.servers import RunningServer, eventually, stub_of

# Runs the module as `python -m predictor` would, in an interpreter that cannot import torch.
WITHOUT_TORCH = """
import runpy, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "train"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
runpy.run_module("predictor", run_name="__main__", alter_sys=True)
"""


# Decoding waits for a file to appear.
HOLDING_IMAGES = """
import os, time
from predictor import pipeline
from predictor.__main__ import run

decode = pipeline.decode

def held(*arguments, **options):
    while not os.path.exists({gate!r}):
        time.sleep(0.01)
    return decode(*arguments, **options)

pipeline.decode = held
run()
"""

NO_LIMITS = httpx.Limits(max_connections=100)


def client_of(model: SightlineModel, metrics: Metrics) -> httpx.AsyncClient:
    app = Starlette()
    Routes(model, Journal(metrics, model.identity)).register(app.router)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x")


def model_of(bundle: Bundle, metrics: Metrics, **changes: str) -> SightlineModel:
    settings = Settings(
        bundle=str(bundle.path), engine="onnxruntime", max_batch_size=2, **changes  # type: ignore[arg-type]
    )  # fmt: skip
    return SightlineModel(settings, metrics)


async def statuses(client: httpx.AsyncClient) -> dict[str, int]:
    paths = (
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/tiny/ready",
        "/v1/models/tiny",
        "/v2/models/tiny",
    )
    return {path: (await client.get(path)).status_code for path in paths}


async def test_readiness_tells_the_truth_from_loading_to_draining(
    bundle: Bundle, metrics: Metrics
) -> None:
    model = model_of(bundle, metrics)
    async with client_of(model, metrics) as client:
        assert list((await statuses(client)).values()) == [200, 503, 503, 503, 503]
        response = await client.post("/v2/models/tiny/infer", json={})
        assert (response.status_code, response.json()) == (503, {"error": "the model is loading"})
        model.start()
        assert not model.ready
        assert await asyncio.to_thread(model.load)
        assert await model.healthy()
        assert list((await statuses(client)).values()) == [200, 200, 200, 200, 200]
        model.stop()
        assert list((await statuses(client)).values()) == [200, 503, 503, 503, 200]
        body = {"instances": [base64.b64encode(png(phantoms(1)[0])).decode()]}
        answered = await client.post("/v1/models/tiny:predict", json=body)
        assert answered.status_code == 200, "what still arrives while draining is answered"
        await model.close()
        late = await client.post("/v1/models/tiny:predict", json=body)
        assert (late.status_code, late.json()["error"]) == (503, "the server is stopping")


def test_a_name_that_is_known_beforehand_is_refused_even_while_loading(
    bundle: Bundle, metrics: Metrics
) -> None:
    unnamed, named = model_of(bundle, metrics), model_of(bundle, metrics, model_name="chest")
    with pytest.raises(NotReadyError):
        unnamed.require("anything")
    with pytest.raises(NotReadyError):
        named.require("chest")
    with pytest.raises(UnknownModelError, match="accepted: chest"):
        named.require("tiny")


def test_a_model_stopped_while_it_loads_never_becomes_ready(
    bundle: Bundle, metrics: Metrics
) -> None:
    model = model_of(bundle, metrics, model_version="12")
    model.stop()
    assert not model.load()
    assert not model.ready
    assert model.identity() == ("tiny", "12")
    assert [each["name"] for each in model.get_input_types()] == ["image", "pixels"]
    assert [each["name"] for each in model.get_output_types()] == list(OUTPUTS)
    asyncio.run(model.close())


def test_the_server_imports_and_serves_without_torch(bundle: Bundle) -> None:
    arguments = ["--bundle", str(bundle.path), "--model_name", "chest"]
    with RunningServer(arguments, launcher=("-c", WITHOUT_TORCH)) as server:
        server.wait_until_ready()
        response = httpx.post(
            f"{server.url}/v1/models/chest:explain",
            content=png(phantoms(1)[0]),
            headers={"content-type": "image/png"},
        )
        assert response.status_code == 200
        assert response.json()["predictions"][0]["cam"]
        server.terminate()
        assert server.wait() == 0
        reasons = [entry.get("reason", "") for entry in server.log_entries()]
        assert any("torch is not installed" in str(each) for each in reasons)


@pytest.mark.parametrize("what", ["corrupt", "bent"])
def test_a_server_that_cannot_serve_says_why_and_ends_with_1(
    bundle: Bundle, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "bundle"
    if what == "corrupt":
        shutil.copytree(bundle.path, path)
        damaged = bytearray((path / "model.onnx").read_bytes())
        damaged[1000] ^= 1
        (path / "model.onnx").write_bytes(damaged)
        arguments, reason = [], "model.onnx has SHA-256"
    else:
        altered(bundle, path, lambda directory: bend_weights(directory / "model.onnx"))
        arguments = ["--engine", "onnxruntime", "--precision", "fp32"]
        reason = "self-test: probabilities differ by"
    with RunningServer(["--bundle", str(path), *arguments]) as server:
        assert server.wait() == 1
        (error,) = [e for e in server.log_entries() if e["level"] == "critical"]
        assert (error["event"], reason in error["error"]) == ("cannot serve", True)
        assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    "flags",
    [
        ["--request_log", "/absent/log"],
        ["--ssl_certfile", "/absent/c", "--ssl_keyfile", "/absent/k"],
    ],
    ids=lambda flags: flags[0],
)
def test_a_setting_that_cannot_be_used_ends_the_start_with_2(
    bundle: Bundle, flags: list[str]
) -> None:
    with RunningServer(["--bundle", str(bundle.path), *flags]) as server:
        assert server.wait() == 2
        (error,) = [e for e in server.log_entries() if e["level"] == "critical"]
        assert (error["event"], flags[0] in error["error"]) == ("cannot serve", True)


async def test_a_port_that_is_taken_is_named(metrics: Metrics, bundle: Bundle) -> None:
    model = model_of(bundle, metrics)
    journal = Journal(metrics, model.identity)
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingError, match=f"--http_port {port} cannot be opened"):
            listen(port)
        rpc = GrpcServer(SightlineServicer(model, journal), port, (1024, 1024), 1.0)
        with pytest.raises(SettingError, match=f"--grpc_port {port} cannot be opened"):
            await rpc.start(1)


async def test_sigterm_loses_no_request_in_flight(bundle: Bundle, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    launcher = ("-c", HOLDING_IMAGES.format(gate=str(gate)))
    image = png(phantoms(1)[0])
    content = join_bytes([image] * 2)
    size = {"binary_data_size": len(content)}
    tensor = {"name": "image", "datatype": "BYTES", "shape": [2], "parameters": size}
    header = json.dumps({"inputs": [tensor]}).encode()
    headers = {"inference-header-content-length": str(len(header))}
    message = pb.ModelInferRequest(model_name="tiny", raw_input_contents=[content])
    message.inputs.add(name="image", datatype="BYTES", shape=[2])
    arguments = ["--bundle", str(bundle.path), "--engine", "onnxruntime"]
    with RunningServer(arguments, launcher=launcher) as server:
        server.wait_until_ready()
        async with (
            httpx.AsyncClient(base_url=server.url, timeout=120.0, limits=NO_LIMITS) as client,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
        ):
            path, body = "/v2/models/tiny/infer", header + content
            rest = [
                asyncio.create_task(client.post(path, content=body, headers=headers))
                for _ in range(24)
            ]
            calls = [stub_of(channel).ModelInfer(message) for _ in range(12)]
            await eventually(client, "/metrics", "sightline_inflight 36.0")
            server.terminate()
            await asyncio.to_thread(server.wait_for_log, "stopping")
            gate.touch()
            assert [answer.status_code for answer in await asyncio.gather(*rest)] == [200] * 24
            assert [len(answer.outputs) for answer in [await call for call in calls]] == [4] * 12
        assert server.wait() == 0
        events = [entry["event"] for entry in server.log_entries()]
        assert events[-1] == "stopped"
        assert events[events.index("stopping") :].count("request") == 36


def test_sigterm_while_loading_ends_at_once_with_0(bundle: Bundle) -> None:
    slow = """
import predictor.lifecycle, threading
predictor.lifecycle.load = lambda settings, metrics: threading.Event().wait()
from predictor.__main__ import run
run()
"""
    with RunningServer(["--bundle", str(bundle.path)], launcher=("-c", slow)) as server:
        server.wait_for("/v2/health/live")
        assert httpx.get(server.url + "/v2/health/ready").status_code == 503
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            stub = stub_of(channel)
            assert not stub.ServerReady(pb.ServerReadyRequest()).ready
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(pb.ModelInferRequest(model_name="tiny"))
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        server.terminate()
        assert server.wait() == 0


class Load:
    """Clients that ask again and again until the server says that it is not ready any more."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.stop = asyncio.Event()
        self.answered = 0
        self.failures: list[str] = []
        self.image = png(phantoms(1)[0])

    async def watch(self) -> None:
        async with httpx.AsyncClient(base_url=self.server.url, timeout=60.0) as client:
            while (await client.get("/v2/health/ready")).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        # A gateway hears of it a little later.
        await asyncio.sleep(0.2)
        self.stop.set()

    async def rest(self, keep_alive: bool) -> None:
        headers = {"content-type": "image/png"}
        while not self.stop.is_set():
            async with httpx.AsyncClient(base_url=self.server.url, timeout=60.0) as client:
                while not self.stop.is_set():
                    await self._one(
                        client.post("/v1/models/tiny:predict", content=self.image, headers=headers)
                    )
                    if not keep_alive:
                        break

    async def rpc(self) -> None:
        message = pb.ModelInferRequest(model_name="tiny")
        tensor = message.inputs.add(name="image", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(self.image)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.server.grpc_port}") as channel:
            while not self.stop.is_set():
                await self._one(stub_of(channel).ModelInfer(message))

    async def _one(self, call: Any) -> None:
        try:
            answer = await call
        except (httpx.HTTPError, grpc.aio.AioRpcError) as error:
            self.failures.append(repr(error))
            return
        if isinstance(answer, httpx.Response) and answer.status_code != 200:
            self.failures.append(answer.text)
        self.answered += 1


async def test_sigterm_under_load_loses_nothing(bundle: Bundle) -> None:
    arguments = ["--bundle", str(bundle.path), "--engine", "onnxruntime"]
    with RunningServer(arguments, {"SIGHTLINE_DRAIN_GRACE_S": "1.5"}) as server:
        server.wait_until_ready()
        load = Load(server)
        clients = [load.rest(True) for _ in range(4)] + [load.rest(False) for _ in range(3)]
        tasks = [asyncio.create_task(each) for each in (*clients, load.rpc(), load.rpc())]
        watcher = asyncio.create_task(load.watch())
        while load.answered < 100:  # noqa: ASYNC110 - nobody is there to set an event
            await asyncio.sleep(0.01)
        server.terminate()
        await asyncio.gather(watcher, *tasks)
        assert load.failures == []
        assert await asyncio.to_thread(server.wait) == 0
        events = [entry["event"] for entry in server.log_entries()]
        assert events[-1] == "stopped"
        statuses = {e["status"] for e in server.log_entries() if e["event"] == "request"}
        assert statuses == {200}
        assert events.count("request") == load.answered
        assert events[events.index("draining") :].count("request") > 0, "new ones were answered"


async def test_in_the_grace_period_connections_are_closed_after_their_answer(
    bundle: Bundle,
) -> None:
    arguments = ["--bundle", str(bundle.path), "--engine", "onnxruntime"]
    with RunningServer(arguments, {"SIGHTLINE_DRAIN_GRACE_S": "60"}) as server:
        server.wait_until_ready()
        async with httpx.AsyncClient(base_url=server.url, timeout=60.0) as client:
            assert "connection" not in (await client.get("/v2/models/tiny")).headers
            server.terminate()
            await asyncio.to_thread(server.wait_for_log, "draining")
            assert (await client.get("/v2/health/ready")).status_code == 503
            assert (await client.get("/v2/health/live")).status_code == 200
            answer = await client.get("/v2/models/tiny")
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            assert "sightline_ready 0.0" in (await client.get("/metrics")).text
        server.terminate()
        assert await asyncio.to_thread(server.wait) == 0, "a second signal ends the minute"
