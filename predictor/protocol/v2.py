"""The V2 protocol over REST: JSON, and the binary tensor extension in both directions.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from predictor.answer import Answers
from predictor.deadline import PARAMETER, parameter_timeout_s
from predictor.errors import MalformedRequestError
from predictor.protocol.tensors import (
    BASE64,
    IMAGE,
    OutputTensor,
    check_input,
    check_inputs,
    check_outputs,
    from_base64,
    make_query,
    output_tensors,
    pixels_from_bytes,
    pixels_from_numbers,
    split_bytes,
)
from predictor.query import Contract, Query, Source, is_number, shown

HEADER_LENGTH = "inference-header-content-length"
JSON = "application/json"
OCTETS = "application/octet-stream"

Body = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A parsed request.

    Attributes:
        id: the client's, echoed.
        query: what is asked.
        outputs: names, in the order of the answer.
        binary: names of those that are sent as binary.
        timeout_s: how long the client waits for the answer, if it says so.
    """

    id: str | None
    query: Query
    outputs: tuple[str, ...]
    binary: frozenset[str]
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class InferResponse:
    """Body and headers of an answer."""

    body: bytes
    headers: dict[str, str]


def parse(body: Body, header_length: str | None, contract: Contract) -> InferRequest:
    """Understand a request.

    Args:
        body: all of it.
        header_length: the `Inference-Header-Content-Length` header, if there is one.
        contract: what the model accepts.

    Raises:
        RequestError: something is wrong with it; names it and what is accepted.
    """
    view = memoryview(body)
    length = _header_length(header_length, len(view))
    document = _object(_json(view[:length]), "the request")
    parameters = _parameters(document, "the request")
    inputs = _list(document, "inputs")
    check_inputs([each.get("name") for each in inputs])
    requested = _list(document, "outputs")
    names = check_outputs([each.get("name") for each in requested])
    images = _images(inputs, view[length:], contract)
    query = make_query(images, names, parameters.get("explain_class"), contract)
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise MalformedRequestError("id is not a string")
    binary = _binary(requested, names, parameters)
    timeout_s = parameter_timeout_s(parameters.get(PARAMETER))
    return InferRequest(request_id, query, names, binary, timeout_s)


def build(
    request: InferRequest, answers: Answers, model_name: str, model_version: str
) -> InferResponse:
    """Write the answer as the request asked for it."""
    tensors = output_tensors(answers.answers, request.outputs)
    blobs: list[bytes] = []
    outputs = []
    for tensor in tensors:
        if tensor.name in request.binary:
            blobs.append(tensor.to_bytes())
            size = {"binary_data_size": len(blobs[-1])}
            outputs.append({**_head(tensor), "parameters": size})
        else:
            outputs.append({**_head(tensor), **_values(tensor)})
    document: dict[str, Any] = {
        "model_name": model_name,
        "model_version": model_version,
        "parameters": answers.timings.milliseconds(),
        "outputs": outputs,
    }
    if request.id is not None:
        document["id"] = request.id
    header = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not blobs:
        return InferResponse(header, {"content-type": JSON})
    headers = {"content-type": OCTETS, HEADER_LENGTH: str(len(header))}
    return InferResponse(b"".join([header, *blobs]), headers)


def _images(
    inputs: Sequence[Mapping[str, Any]], blob: memoryview, contract: Contract
) -> list[Source]:
    """The images of all inputs, in their order; binary data follows in the same order."""
    images: list[Source] = []
    for tensor in inputs:
        found, blob = _images_of(tensor, blob, contract)
        images.extend(found)
    if len(blob):
        raise MalformedRequestError(
            f"{len(blob)} bytes follow the JSON that no input's binary_data_size accounts for"
        )
    contract.check_count(len(images), "the request")
    return images


def _images_of(
    tensor: Mapping[str, Any], blob: memoryview, contract: Contract
) -> tuple[Sequence[Source], memoryview]:
    """An input's images, and what of the binary data is not its own."""
    name = tensor.get("name")
    shape = check_input(name, tensor.get("datatype"), tensor.get("shape"), contract)
    parameters = _parameters(tensor, f"input {name}")
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in tensor:
            raise MalformedRequestError(f"input {name} has neither data nor binary_data_size")
        if name == IMAGE:
            return _base64_images(tensor["data"], shape[0], parameters), blob
        return pixels_from_numbers(tensor["data"], shape), blob
    if "data" in tensor:
        raise MalformedRequestError(f"input {name} has both data and binary_data_size")
    if type(size) is not int or not 0 <= size <= len(blob):
        raise MalformedRequestError(
            f"input {name} has binary_data_size {shown(size)}, but {len(blob)} bytes are left "
            "after the JSON and the inputs before"
        )
    own, rest = blob[:size], blob[size:]
    if name == IMAGE:
        return split_bytes(own, shape[0], IMAGE), rest
    return pixels_from_bytes(own, shape), rest


def _base64_images(data: object, count: int, parameters: Mapping[str, Any]) -> list[Source]:
    content_type = parameters.get("content_type")
    if content_type != BASE64:
        raise MalformedRequestError(
            f"input {IMAGE}: content_type is {shown(content_type)}; images in JSON must be base64 "
            f'and say so with "parameters": {{"content_type": "{BASE64}"}}'
        )
    if not isinstance(data, list) or len(data) != count:
        found = f"{len(data)} elements" if isinstance(data, list) else "no list"
        raise MalformedRequestError(f"input {IMAGE} has shape [{count}], but its data has {found}")
    return [from_base64(text, f"input {IMAGE}, image {index}") for index, text in enumerate(data)]


def _binary(
    requested: Sequence[Mapping[str, Any]], names: Sequence[str], parameters: Mapping[str, Any]
) -> frozenset[str]:
    default = _flag(parameters, "binary_data_output", False)
    own = {
        each["name"]: _flag(_parameters(each, f"output {each['name']}"), "binary_data", default)
        for each in requested
    }
    return frozenset(name for name in names if own.get(name, default))


def _flag(parameters: Mapping[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise MalformedRequestError(f"parameter {key} is {shown(value)}; accepted: true, false")
    return value


def _head(tensor: OutputTensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}


def _values(tensor: OutputTensor) -> dict[str, Any]:
    if not isinstance(tensor.values, list):
        return {"data": tensor.values.ravel()}
    if tensor.text:
        return {"data": [value.decode() for value in tensor.values]}
    data = [base64.b64encode(value).decode() for value in tensor.values]
    return {"parameters": {"content_type": BASE64}, "data": data}


def _header_length(value: str | None, body_length: int) -> int:
    if value is None:
        return body_length
    if not is_number(value) or int(value) > body_length:
        raise MalformedRequestError(
            f"{HEADER_LENGTH} is {value[:40]!r}; an integer up to the body's {body_length} bytes "
            "is expected"
        )
    return int(value)


def _json(view: memoryview) -> object:
    try:
        return orjson.loads(view)
    except orjson.JSONDecodeError as error:
        raise MalformedRequestError(f"the request is not valid JSON: {error.msg}") from None


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedRequestError(f"{where} is not a JSON object")
    return value


def _list(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    values = document.get(key)
    if values is None:
        return []
    if not isinstance(values, list):
        raise MalformedRequestError(f"{key} is not a list")
    return [_object(value, f"{key}[{index}]") for index, value in enumerate(values)]


def _parameters(owner: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parameters = owner.get("parameters")
    return {} if parameters is None else _object(parameters, f"parameters of {where}")
