"""A real server in its own process: its routes, its refusals, its log and its metrics."""

import asyncio
import base64
import io
import json
import socket
from typing import Any

import grpc
import httpx
import numpy as np
import numpy.typing as npt
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from PIL import Image

from model.bundle import Bundle
from predictor.protocol.tensors import OUTPUTS
from tests.predictor.bundles import jpeg, png
from tests.predictor.payloads import INFER, b64, json_request
from tests.predictor.servers import RunningServer, eventually, sample, stub_of

Pictures = npt.NDArray[np.uint8]

HEALTH = (
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/tiny/ready",
    "/v1/models/tiny",
    "/v2/models/tiny",
)
CSV = {"content-type": "text/csv"}
FORM = {"content-type": "multipart/form-data"}
GZIP = {"content-encoding": "gzip"}


@pytest.mark.parametrize("verb", ["predict", "explain"])
@pytest.mark.parametrize("form", ["b64", "plain", "raw jpeg", "raw png", "files"])
def test_v1_takes_every_form_of_image(
    server: RunningServer, pictures: Pictures, expected: Any, form: str, verb: str
) -> None:
    two = [png(each) for each in pictures[:2]]
    requests: dict[str, dict[str, Any]] = {
        "b64": {"json": {"instances": [{"b64": b64(each)} for each in two]}},
        "plain": {
            "content": json.dumps({"instances": [b64(each) for each in two]}),
            "headers": {"content-type": "application/json; charset=utf-8"},
        },
        "raw jpeg": {"content": jpeg(pictures[0]), "headers": {"content-type": "image/jpeg"}},
        "raw png": {"content": two[0], "headers": {"content-type": "image/png"}},
        "files": {"files": [("a", ("x.png", two[0])), ("b", ("y.png", two[1]))]},
    }
    url = f"{server.url}/v1/models/tiny:{verb}"
    response = httpx.post(url, **requests[form], params={"explain_class": "nodule"})
    assert response.status_code == 200, response.text
    predictions = response.json()["predictions"]
    assert len(predictions) == (1 if form.startswith("raw") else 2)
    for prediction, probabilities, cam in zip(
        predictions, expected.probabilities, expected.cam, strict=False
    ):
        close = 0.2 if form == "raw jpeg" else 1e-4
        assert list(prediction["probabilities"]) == ["normal", "effusion", "nodule"]
        found = np.array(list(prediction["probabilities"].values()))
        assert np.allclose(found, probabilities, atol=close)
        assert ("cam" in prediction) == (verb == "explain")
        if verb == "explain":
            assert prediction["explained_class"] == "nodule"
            if form != "raw jpeg":
                assert np.allclose(prediction["cam"], cam[2], atol=1e-5)
            with Image.open(io.BytesIO(base64.b64decode(prediction["overlay"]["b64"]))) as image:
                assert image.size == (64, 64)


def test_a_form_may_name_the_class_and_nothing_else(
    server: RunningServer, pictures: Pictures
) -> None:
    url, part = f"{server.url}/v1/models/tiny:explain", {"file": png(pictures[0])}
    response = httpx.post(url, files=part, data={"explain_class": "effusion"})
    assert response.json()["predictions"][0]["explained_class"] == "effusion"
    refused = httpx.post(url, files=part, data={"patient": "x"})
    assert (refused.status_code, "'patient' is unknown" in refused.json()["error"]) == (400, True)
    for count, found in ((65, "65 images; at most 64"), (66, "more than 64 images; at most 64")):
        many = httpx.post(url, files=[("f", png(pictures[0]))] * count)
        assert (many.status_code, found in many.json()["error"]) == (413, True)


@pytest.mark.parametrize(
    ("path", "options", "status", "message"),
    [
        (INFER, {"content": b"{"}, 400, "not valid JSON"),
        (INFER, {"content": b"", "headers": CSV}, 415, "accepted: app"),
        (INFER, {"content": b"x", "headers": GZIP}, 415, "accepted: identity"),
        (INFER, {"json": json_request(b"GIF89a not ours")}, 415, "image 0: not a JPEG, PNG"),
        (INFER, {"json": json_request(b"")}, 400, "image 0: image is empty"),
        (INFER, {"json": json_request(b"x" * 4_000_000)}, 413, "at most 4,000,000 are accepted"),
        (INFER.replace("tiny", "other"), {"json": {}}, 404, "accepted: tiny"),
        (INFER.replace("/infer", "/versions/9/infer"), {"json": {}}, 404, "version '9'"),
        ("/v1/models/tiny:predict", {"content": b"x", "headers": {"content-type": "text/plain"}},
         415, "multipart/form-data"),
        ("/v1/models/tiny:predict", {"json": {"instances": []}}, 400, "at least one"),
        ("/v1/models/tiny:predict", {"content": b"x", "headers": FORM},
         400, "the form cannot be read"),
        ("/v1/models/other:explain", {"json": {}}, 404, "accepted: tiny"),
        ("/v2/repository/models/tiny/unload", {}, 404, "cannot be loaded or unloaded"),
        ("/v2/repository/models/tiny/load", {}, 404, "cannot be loaded or unloaded"),
        ("/v2/repository/index", {}, 404, "cannot be loaded or unloaded"),
        ("/nowhere", {}, 404, "Not Found"),
        ("/v2/health/ready", {}, 405, "Method Not Allowed"),
    ],
)  # fmt: skip
def test_a_wrong_request_has_its_status_and_says_what_is_accepted(
    server: RunningServer, path: str, options: dict[str, Any], status: int, message: str
) -> None:
    response = httpx.post(server.url + path, **options)
    assert response.status_code == status
    assert message in response.json()["error"]
    assert httpx.get(server.url + "/v2/health/ready").json() == {"ready": True}


def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_large(
    server: RunningServer,
) -> None:
    sent = 0

    def chunks() -> Any:
        nonlocal sent
        for _ in range(80):
            sent += 100_000
            yield b"x" * 100_000

    response = httpx.post(server.url + INFER, content=chunks())
    assert response.status_code == 413
    assert "more than 4,000,000 bytes" in response.json()["error"]


def test_metadata_names_inputs_outputs_version_and_classes(
    server: RunningServer, bundle: Bundle
) -> None:
    assert "binary_tensor_data" in httpx.get(server.url + "/v2").json()["extensions"]
    metadata = httpx.get(server.url + "/v2/models/tiny").json()
    version = bundle.digest[:12]
    assert metadata["versions"] == [version]
    assert {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 3]} in metadata["inputs"]
    assert {"name": "cam", "datatype": "FP32", "shape": [-1, 16, 16]} in metadata["outputs"]
    assert {"name": "cams", "datatype": "FP32", "shape": [-1, 3, 16, 16]} in metadata["outputs"]
    assert {"name": "display", "datatype": "BYTES", "shape": [-1]} in metadata["outputs"]
    assert [each["key"] for each in metadata["parameters"]["classes"]] == bundle.manifest.class_keys
    assert metadata["parameters"]["risk"]["indeterminate_below"] == 0.7
    assert metadata["parameters"]["limits"] == {
        "max_body_bytes": 4_000_000, "max_pixels": 64_000_000, "max_images": 64,
    }  # fmt: skip
    for path in (f"/v2/models/tiny/versions/{version}/ready", "/v1/models/tiny"):
        assert httpx.get(server.url + path).json() == {"name": "tiny", "ready": True}
    assert httpx.get(server.url + "/v2/models").json() == {"models": ["tiny"]}
    assert httpx.get(server.url + "/v2/models/other/ready").status_code == 404


def test_an_answer_over_grpc_may_be_larger_than_a_request(server: RunningServer) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 512, 512, 3), dtype=np.uint8)
    message = pb.ModelInferRequest(model_name="tiny", raw_input_contents=[noise.tobytes()])
    message.inputs.add(name="pixels", datatype="UINT8", shape=noise.shape)
    for name in ("display", "overlay"):
        message.outputs.add(name=name)
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options) as channel:
        answer = stub_of(channel).ModelInfer(message, timeout=60.0)
    assert message.ByteSize() < 4_000_000 < answer.ByteSize()


def test_the_repository_is_off_in_grpc(server: RunningServer) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = stub_of(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="tiny"))
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelReady(pb.ModelReadyRequest(name="other"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert stub.ModelReady(pb.ModelReadyRequest(name="tiny")).ready


def test_the_request_id_comes_back_and_no_other_header_does(
    server: RunningServer, pictures: Pictures
) -> None:
    headers = {"x-request-id": "trace-77", "authorization": "Bearer secret", "cookie": "a=b"}
    body = {"instances": [b64(png(pictures[0]))]}
    for verb in ("predict", "explain"):
        response = httpx.post(f"{server.url}/v1/models/tiny:{verb}", json=body, headers=headers)
        assert response.headers["x-request-id"] == "trace-77"
        assert "secret" not in str(response.headers) + response.text
        assert "cookie" not in response.headers
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", INFER, {"json": json_request(png(pictures[0]))}),
        ("POST", INFER, {"content": b"{"}),
        ("POST", "/v2/repository/models/tiny/unload", {}),
        ("GET", "/nowhere", {}),
        *(("GET", path, {}) for path in HEALTH),
    ]
    for method, path, options in asked:
        response = httpx.request(method, server.url + path, headers=headers, **options)
        assert "secret" not in str(response.headers) + response.text, path
        assert "cookie" not in response.headers, path
    wild = httpx.get(server.url + "/v2", headers={"x-request-id": "a b"})
    assert "a b" not in str(wild.headers)


async def test_good_requests_are_answered_among_broken_ones(
    server: RunningServer, pictures: Pictures, expected: Any
) -> None:
    async def good(client: httpx.AsyncClient, index: int) -> None:
        number = index % len(pictures)
        response = await client.post(INFER, json=json_request(png(pictures[number]), id=str(index)))
        document = response.json()
        outputs = {output["name"]: output for output in document["outputs"]}
        assert document["id"] == str(index)
        assert np.allclose(
            outputs["probabilities"]["data"], expected.probabilities[number], atol=1e-4
        )

    async def broken(client: httpx.AsyncClient) -> None:
        response = await client.post(INFER, json=json_request(b"\xff\xd8\xff\xe0 broken"))
        assert response.status_code == 400

    limits = httpx.Limits(max_connections=40)
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=60.0, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        for index in range(240):
            group.create_task(good(client, index) if index % 8 else broken(client))


async def test_each_request_of_a_batch_gets_the_outputs_that_it_named(
    server: RunningServer, pictures: Pictures, expected: Any
) -> None:
    async def ask(client: httpx.AsyncClient, index: int) -> None:
        number, count = index % len(pictures), 1 + index % len(OUTPUTS)
        names = [OUTPUTS[(index + step) % len(OUTPUTS)] for step in range(count)]
        image = png(pictures[number])
        wanted = [{"name": name} for name in names]
        response = await client.post(INFER, json=json_request(image, outputs=wanted))
        outputs = {output["name"]: output["data"] for output in response.json()["outputs"]}
        assert list(outputs) == names
        if "probabilities" in outputs:
            found = outputs["probabilities"]
            assert np.allclose(found, expected.probabilities[number], atol=1e-4)
        if "cam" in outputs:
            own = expected.cam[number, expected.probabilities[number].argmax()]
            assert np.allclose(outputs["cam"], own.ravel(), atol=1e-5)

    before = sample(server, 'sightline_batch_size_bucket{le="1.0"}')
    batches = sample(server, "sightline_batch_size_count")
    limits = httpx.Limits(max_connections=40)
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=60.0, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        for index in range(120):
            group.create_task(ask(client, index))
    alone = sample(server, 'sightline_batch_size_bucket{le="1.0"}') - before
    assert alone < sample(server, "sightline_batch_size_count") - batches, "some shared a batch"


async def test_the_work_of_a_client_that_hangs_up_is_dropped(server: RunningServer) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    body = json.dumps(json_request(*[png(noise)] * 2)).encode()
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    for _ in range(12):
        with socket.create_connection(("127.0.0.1", server.http_port)) as connection:
            connection.sendall(head + body)
    async with httpx.AsyncClient(base_url=server.url) as client:
        await eventually(client, "/metrics", 'status="499"', "sightline_inflight 0.0")
        assert (await client.get("/v2/health/ready")).status_code == 200


def test_metrics_tell_of_requests_stages_and_the_model(
    server: RunningServer, bundle: Bundle, pictures: Pictures
) -> None:
    httpx.post(server.url + INFER, json=json_request(png(pictures[0])))
    text = httpx.get(server.url + "/metrics").text
    for line in (
        'sightline_requests_total{protocol="v2",status="200",verb="infer",version="',
        'sightline_stage_seconds_bucket{le="0.001",stage="decode"}',
        "sightline_batch_size_bucket",
        "sightline_queue_depth 0.0",
        'sightline_predictions_total{class="',
        "sightline_confidence_bucket",
        'sightline_selftest_passed{device="cpu",engine="onnxruntime",precision="fp32"} 1.0',
        'sightline_engine_images_per_second{batch="8",device="cpu",engine="onnxruntime",precision="fp32"}',
        f'digest="{bundle.digest}",engine="onnxruntime",name="tiny",precision="fp32"',
    ):
        assert line in text
    assert "_created" not in text


def test_the_log_has_one_line_per_request_and_nothing_of_its_content(
    server: RunningServer, pictures: Pictures
) -> None:
    secret = "patient-4711"
    image = png(pictures[0])
    httpx.post(
        f"{server.url}/v1/models/tiny:predict",
        files={"f": (f"{secret}.png", image)},
        headers={"x-request-id": "log-1", "authorization": secret},
    )
    httpx.post(
        server.url + INFER,
        json=json_request(secret.encode(), id=secret),
        headers={"x-request-id": "log-2"},
    )
    httpx.post(server.url + INFER, content=secret.encode(), headers={"x-request-id": "log-3"})
    entries = server.log_entries()
    found = [entry for entry in entries if str(entry.get("request_id")).startswith("log-")]
    assert [(entry["request_id"], entry["status"]) for entry in found] == [
        ("log-1", 200),
        ("log-2", 415),
        ("log-3", 400),
    ]
    assert found[0]["model"] == "tiny"
    assert found[0]["decode_ms"] > 0
    log = server.log()
    assert secret not in log
    assert b64(image)[:40] not in log
    assert len(entries) == len(log.splitlines()), "every line is JSON"
    assert not [entry for entry in entries if entry["logger"] in ("kserve.trace", "uvicorn.access")]
