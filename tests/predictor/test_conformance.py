"""Clients that were not written here, against a real server in its own process."""

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton
from kserve import InferenceGRPCClient, InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import InferInput, InferRequest, InferResponse
from PIL import Image
from tritonclient.utils import InferenceServerException

from model.bundle import Bundle
from predictor.protocol.tensors import OUTPUTS
from tests.model.dicoms import SECRET, dicom
from tests.predictor.bundles import png
from tests.predictor.payloads import INFER, b64, json_request
from tests.predictor.servers import RunningServer

Pictures = npt.NDArray[np.uint8]


def files(pictures: Pictures) -> npt.NDArray[np.object_]:
    return np.array([png(each) for each in pictures], dtype=np.object_)


def check_all(found: Callable[[str], Any], expected: Any, bundle: Bundle) -> None:
    labels = [bundle.manifest.class_keys[int(k)] for k in expected.probabilities.argmax(axis=1)]
    assert np.allclose(found("probabilities"), expected.probabilities, atol=1e-4)
    assert [each.decode() for each in found("label")] == labels
    assert np.allclose(found("confidence"), expected.probabilities.max(axis=1), atol=1e-4)
    levels = {"Minimal", "Moderate", "High", "Indeterminate"}
    assert {each.decode() for each in found("risk")} <= levels
    predicted = expected.probabilities.argmax(axis=1)
    maps = expected.cam[np.arange(len(predicted)), predicted]
    assert np.allclose(found("cam"), maps, atol=1e-5)
    for picture in found("overlay"):
        with Image.open(io.BytesIO(picture)) as image:
            assert (image.format, image.size) == ("PNG", (64, 64))


@pytest.mark.parametrize("form", ["image", "pixels"])
def test_triton_s_http_client_gets_eight_answers_in_order(
    server: RunningServer, bundle: Bundle, pictures: Pictures, expected: Any, form: str
) -> None:
    values = files(pictures) if form == "image" else pictures
    datatype = "BYTES" if form == "image" else "UINT8"
    tensor = triton.InferInput(form, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    with triton.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("tiny")
        wanted = [triton.InferRequestedOutput(name) for name in OUTPUTS]
        result = client.infer("tiny", [tensor], outputs=wanted, request_id="42")
        check_all(result.as_numpy, expected, bundle)
        assert result.get_response()["id"] == "42"
        version = client.get_model_metadata("tiny")["versions"][0]
        default = client.infer("tiny", [tensor], model_version=version)
        assert default.as_numpy("cam") is None
        assert default.as_numpy("label").shape == (8,)


def test_triton_s_http_client_may_mix_json_and_binary(
    server: RunningServer, pictures: Pictures, expected: Any
) -> None:
    tensor = triton.InferInput("pixels", list(pictures.shape), "UINT8")
    tensor.set_data_from_numpy(pictures, binary_data=False)
    wanted = [
        triton.InferRequestedOutput("label", binary_data=False),
        triton.InferRequestedOutput("probabilities", binary_data=True),
    ]
    parameters = {"explain_class": "normal"}
    with triton.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
        result = client.infer("tiny", [tensor], outputs=wanted, parameters=parameters)
    assert np.allclose(result.as_numpy("probabilities"), expected.probabilities, atol=1e-4)
    assert len(result.get_output("label")["data"]) == 8


def test_a_wrong_request_of_triton_s_http_client_is_named_and_the_server_goes_on(
    server: RunningServer, pictures: Pictures
) -> None:
    good = triton.InferInput("image", [1], "BYTES")
    good.set_data_from_numpy(files(pictures[:1]))
    broken = triton.InferInput("image", [2], "BYTES")
    broken.set_data_from_numpy(np.array([png(pictures[0]), b"\xff\xd8\xff broken"], np.object_))
    wrong_type = triton.InferInput("pixels", [1, 8, 8, 3], "FP32")
    wrong_type.set_data_from_numpy(np.zeros((1, 8, 8, 3), np.float32))
    heat = [triton.InferRequestedOutput("heat")]
    with triton.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
        with pytest.raises(InferenceServerException, match="image 1: damaged JPEG image"):
            client.infer("tiny", [broken])
        with pytest.raises(InferenceServerException, match="datatype 'FP32'; accepted: UINT8"):
            client.infer("tiny", [wrong_type])
        with pytest.raises(InferenceServerException, match="output 'heat' is unknown; accepted"):
            client.infer("tiny", [good], outputs=heat)
        assert client.infer("tiny", [good]).as_numpy("label").shape == (1,)


def test_triton_s_grpc_client(
    server: RunningServer, bundle: Bundle, pictures: Pictures, expected: Any, tmp_path: Path
) -> None:
    contents = [png(each) for each in pictures]
    padded = np.array([np.frombuffer(each.ljust(1 << 16, b"\0"), np.uint8) for each in contents])
    np.savez(tmp_path / "images.npz", pixels=pictures, files=padded)
    script = Path(__file__).with_name("triton_grpc_client.py")
    answers = tmp_path / "answers.npz"
    arguments = [str(server.grpc_port), str(tmp_path / "images.npz"), str(answers)]
    done = subprocess.run([sys.executable, script, *arguments], check=True, stdout=subprocess.PIPE)
    report = json.loads(done.stdout)
    assert report["state"] == [True] * 5
    assert report["metadata"]["platform"] == "sightline"
    assert [each["name"] for each in report["metadata"]["outputs"]] == list(OUTPUTS)
    with np.load(answers) as data:
        for form in ("image", "pixels"):

            def found(name: str, form: str = form) -> Any:
                array = data[f"{form}_{name}"]
                return [bytes.fromhex(each) for each in array] if array.dtype.kind == "U" else array

            check_all(found, expected, bundle)
    starts = [
        "StatusCode.INVALID_ARGUMENT: image 1: damaged JPEG image",
        "StatusCode.INVALID_ARGUMENT: input pixels has datatype 'FP32'; accepted: UINT8",
        "StatusCode.INVALID_ARGUMENT: output 'heat' is unknown; accepted",
        "StatusCode.NOT_FOUND: model 'other' is not served here; accepted: tiny",
        "StatusCode.NOT_FOUND: version '99'",
        "answered",
        "StatusCode.UNIMPLEMENTED: ",
    ]
    for refusal, start in zip(report["refusals"], starts, strict=True):
        assert refusal.startswith(start)


async def test_kserve_s_rest_client(
    server: RunningServer, pictures: Pictures, expected: Any
) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    tensor = InferInput("pixels", list(pictures.shape), "UINT8")
    tensor.set_data_from_numpy(pictures, binary_data=True)
    assert await client.is_server_ready(server.url)
    assert await client.is_model_ready(server.url, "tiny")
    response = await client.infer(server.url, InferRequest("tiny", [tensor]), model_name="tiny")
    assert isinstance(response, InferResponse)
    outputs = {output.name: output for output in response.outputs}
    assert np.allclose(outputs["probabilities"].as_numpy(), expected.probabilities, atol=1e-4)
    await client.close()  # type: ignore[no-untyped-call]
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    instances = {"instances": [{"b64": b64(png(each))} for each in pictures]}
    answer = await v1.infer(server.url, instances, model_name="tiny")
    assert isinstance(answer, dict)
    confidences = [prediction["confidence"] for prediction in answer["predictions"]]
    assert np.allclose(confidences, expected.probabilities.max(axis=1), atol=1e-4)
    await v1.close()  # type: ignore[no-untyped-call]


async def test_kserve_s_grpc_client(
    server: RunningServer, pictures: Pictures, expected: Any
) -> None:
    async with InferenceGRPCClient(f"127.0.0.1:{server.grpc_port}") as client:
        assert await client.is_server_ready()
        assert await client.is_model_ready("tiny")
        tensor = InferInput("image", [8], "BYTES")
        values = files(pictures)
        values[5:] = [dicom(each) for each in pictures[5:]]
        tensor.set_data_from_numpy(values, binary_data=True)
        response = await client.infer(InferRequest("tiny", [tensor]))
    outputs = {output.name: output for output in response.outputs}
    assert np.allclose(outputs["probabilities"].as_numpy(), expected.probabilities, atol=1e-4)


@pytest.mark.parametrize("order", [("image", "pixels"), ("pixels", "image")])
def test_triton_s_http_client_may_send_files_and_pixels_in_one_request(
    server: RunningServer, bundle: Bundle, pictures: Pictures, expected: Any, order: Any
) -> None:
    first, second = pictures[:3], pictures[3:]
    tensors = []
    for name, own in zip(order, (first, second), strict=True):
        values = files(own) if name == "image" else own
        tensors.append(
            triton.InferInput(name, list(values.shape), "BYTES" if name == "image" else "UINT8")
        )
        tensors[-1].set_data_from_numpy(values)
    wanted = [triton.InferRequestedOutput(name) for name in OUTPUTS]
    with triton.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
        check_all(client.infer("tiny", tensors, outputs=wanted).as_numpy, expected, bundle)


def test_triton_s_http_client_may_send_dicom(
    server: RunningServer, bundle: Bundle, pictures: Pictures, expected: Any
) -> None:
    values = np.array([dicom(each) for each in pictures], np.object_)
    tensor = triton.InferInput("image", [8], "BYTES")
    tensor.set_data_from_numpy(values)
    broken = triton.InferInput("image", [1], "BYTES")
    broken.set_data_from_numpy(np.array([dicom(pictures[0], NumberOfFrames=7)], np.object_))
    wanted = [triton.InferRequestedOutput(name) for name in OUTPUTS]
    with triton.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
        check_all(client.infer("tiny", [tensor], outputs=wanted).as_numpy, expected, bundle)
        with pytest.raises(InferenceServerException, match=r"image 0: Digital X-Ray .* 7 fr"):
            client.infer("tiny", [broken])
    odd = dicom(pictures[0][..., 0], RescaleSlope="12345678", RescaleIntercept="0")
    odd = odd.replace(b"12345678", b"DOE^JOHN")
    headers = {"content-type": "application/dicom"}
    refused = httpx.post(f"{server.url}/v1/models/tiny:predict", content=odd, headers=headers)
    assert refused.status_code == 400
    assert "DOE" not in refused.text
    for secret in (SECRET, "DOE", "PX47"):
        assert secret not in server.log()


def test_dicom_is_taken_raw_as_base64_and_as_a_data_url(
    server: RunningServer, pictures: Pictures, expected: Any
) -> None:
    file = dicom(pictures[0])
    url = f"{server.url}/v1/models/tiny:explain"
    answers = [
        httpx.post(url, content=file, headers={"content-type": "application/dicom"}),
        httpx.post(url, json={"instances": [{"b64": b64(file)}]}),
        httpx.post(url, json={"instances": [f"data:application/dicom;base64,{b64(file)}"]}),
    ]
    for answer in answers:
        (prediction,) = answer.json()["predictions"]
        assert np.isclose(prediction["confidence"], expected.probabilities[0].max(), atol=1e-4)
    document = json_request(file)
    document["inputs"][0]["data"] = [f"data:application/dicom;base64,{b64(file)}"]
    assert httpx.post(server.url + INFER, json=document).status_code == 200
    report = dicom(pictures[0], SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2")
    refused = httpx.post(url, content=report, headers={"content-type": "application/dicom"})
    assert refused.status_code == 415
    assert refused.json() == {"error": "image 0: RT Dose Storage is not an image"}


async def test_every_request_of_a_batch_gets_the_outputs_it_asked_for(
    server: RunningServer, pictures: Pictures, expected: Any
) -> None:
    predicted = expected.probabilities.argmax(axis=1)

    async def ask(client: httpx.AsyncClient, index: int) -> None:
        picture = index % len(pictures)
        names = [name for bit, name in enumerate(OUTPUTS) if (index + 1) >> bit & 1] or ["label"]
        document = json_request(png(pictures[picture]), outputs=[{"name": name} for name in names])
        explained = index % 4
        if explained < 3:
            document["parameters"] = {"explain_class": explained}
        outputs = (await client.post(INFER, json=document)).json()["outputs"]
        assert [output["name"] for output in outputs] == names
        values = {output["name"]: output["data"] for output in outputs}
        if "cam" in values:
            chosen = explained if explained < 3 else int(predicted[picture])
            cam = expected.cam[picture, chosen].ravel()
            assert np.allclose(values["cam"], cam, atol=1e-5)
        if "probabilities" in values:
            found = values["probabilities"]
            assert np.allclose(found, expected.probabilities[picture], atol=1e-4)

    before = await _batches(server)
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=60.0) as client,
        asyncio.TaskGroup() as group,
    ):
        for index in range(126):
            group.create_task(ask(client, index))
    assert await _batches(server) - before < 126, "some were run together"


async def _batches(server: RunningServer) -> float:
    async with httpx.AsyncClient(base_url=server.url) as client:
        text = (await client.get("/metrics")).text
    (line,) = (line for line in text.splitlines() if line.startswith("sightline_batch_size_count"))
    return float(line.split()[1])
