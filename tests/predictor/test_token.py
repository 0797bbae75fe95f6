"""A server that was given a token: who gets in, over REST and gRPC."""

from collections.abc import Callable, Iterator
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
from tests.predictor.servers import RunningServer, sample, stub_of

GOOD = "Bearer s3cret"
PNG = {"content-type": "image/png"}


@pytest.fixture(scope="module")
def guarded(
    bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningServer, Path]]:
    file = tmp_path_factory.mktemp("secret") / "token"
    file.write_text("s3cret\n")
    arguments = ["--bundle", str(bundle.path), "--engine", "onnxruntime"]
    with RunningServer([*arguments, "--token_file", str(file)]) as running:
        running.wait_until_ready()
        yield running, file


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2"),
        ("GET", "/v2/models"),
        ("GET", "/v2/models/tiny"),
        ("GET", "/v1/models"),
        ("GET", "/openapi.json"),
        ("POST", "/v2/models/tiny/infer"),
        ("POST", "/v2/models/other/infer"),
        ("POST", "/v1/models/tiny:predict"),
        ("POST", "/v1/models/tiny:explain"),
    ],
)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic s3cret"])
def test_inference_and_metadata_need_the_token(
    guarded: tuple[RunningServer, Path], method: str, path: str, header: str | None
) -> None:
    headers = {} if header is None else {"authorization": header}
    answer = httpx.request(method, guarded[0].url + path, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "Authorization" in answer.json()["error"]


def test_who_has_the_token_is_answered(
    guarded: tuple[RunningServer, Path], pictures: npt.NDArray[np.uint8]
) -> None:
    url, headers = guarded[0].url, {"authorization": GOOD}
    assert httpx.get(url + "/v2/models/tiny", headers=headers).status_code == 200
    answer = httpx.post(
        url + "/v1/models/tiny:predict", content=png(pictures[0]), headers=headers | PNG
    )
    assert answer.status_code == 200
    assert "s3cret" not in guarded[0].log()
    assert sample(guarded[0], 'sightline_rejections_total{reason="unauthorised"}') > 0


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready", "/v1/models/tiny",
             "/metrics"],
)  # fmt: skip
def test_probes_and_metrics_are_open(guarded: tuple[RunningServer, Path], path: str) -> None:
    assert httpx.get(guarded[0].url + path).status_code == 200


def test_grpc_needs_the_token_too(guarded: tuple[RunningServer, Path]) -> None:
    infer = pb.ModelInferRequest(model_name="tiny")
    with grpc.insecure_channel(f"127.0.0.1:{guarded[0].grpc_port}") as channel:
        stub = stub_of(channel)
        calls: list[Callable[..., Any]] = [
            lambda **options: stub.ModelInfer(infer, **options),
            lambda **options: stub.ServerMetadata(pb.ServerMetadataRequest(), **options),
            lambda **options: stub.ModelMetadata(pb.ModelMetadataRequest(name="tiny"), **options),
        ]
        for call in calls:
            for metadata in ((), (("authorization", "Bearer wrong"),)):
                with pytest.raises(grpc.RpcError) as caught:
                    call(metadata=metadata)
                assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        good = (("authorization", GOOD),)
        assert calls[2](metadata=good).name == "tiny"
        with pytest.raises(grpc.RpcError) as caught:
            calls[0](metadata=good)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, "it got in"
        assert stub.ServerLive(pb.ServerLiveRequest()).live
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        assert stub.ModelReady(pb.ModelReadyRequest(name="tiny")).ready


def test_a_new_token_holds_without_a_restart(guarded: tuple[RunningServer, Path]) -> None:
    server, file = guarded
    path = server.url + "/v2/models/tiny"
    file.write_text("s3cret\nnew\n")
    assert httpx.get(path, headers={"authorization": "Bearer new"}).status_code == 200
    assert httpx.get(path, headers={"authorization": GOOD}).status_code == 200


@pytest.mark.parametrize("content", [None, "\n"])
def test_a_server_without_its_token_does_not_start(
    bundle: Bundle, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with RunningServer(["--bundle", str(bundle.path), "--token_file", str(file)]) as server:
        assert server.wait() == 2
        (error,) = [e for e in server.log_entries() if e["level"] == "critical"]
        assert f"--token_file {file}" in error["error"]
