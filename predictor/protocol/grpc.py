"""The V2 protocol over gRPC, straight from and to its messages.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from predictor.answer import Answers
from predictor.deadline import PARAMETER, parameter_timeout_s
from predictor.errors import MalformedRequestError
from predictor.protocol.tensors import (
    BASE64,
    IMAGE,
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
from predictor.protocol.v2 import InferRequest
from predictor.query import Contract, Source

_CONTENTS = {IMAGE: "bytes_contents", "pixels": "uint_contents"}


def parse(message: pb.ModelInferRequest, contract: Contract) -> InferRequest:
    """Understand a request, whose tensors are raw or typed.

    Raises:
        RequestError: something is wrong with it; names it and what is accepted.
    """
    check_inputs([each.name for each in message.inputs])
    names = check_outputs([each.name for each in message.outputs])
    images = _images(message, contract)
    parameters = _parameters(message.parameters)
    query = make_query(images, names, parameters.get("explain_class"), contract)
    timeout_s = parameter_timeout_s(parameters.get(PARAMETER))
    return InferRequest(message.id or None, query, names, frozenset(names), timeout_s)


def build(
    request: InferRequest, answers: Answers, model_name: str, model_version: str
) -> pb.ModelInferResponse:
    """Write the answer, all tensors raw. Timings are decimal strings: the protocol has no float."""
    response = pb.ModelInferResponse(
        model_name=model_name, model_version=model_version, id=request.id or ""
    )
    for key, value in answers.timings.milliseconds().items():
        response.parameters[key].string_param = str(value)
    for tensor in output_tensors(answers.answers, request.outputs):
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(tensor.to_bytes())
    return response


def build_metadata(metadata: Mapping[str, Any]) -> pb.ModelMetadataResponse:
    """:func:`predictor.protocol.metadata.model_metadata` as a message; it has no parameters."""
    return pb.ModelMetadataResponse(
        name=metadata["name"],
        versions=metadata["versions"],
        platform=metadata["platform"],
        inputs=metadata["inputs"],
        outputs=metadata["outputs"],
    )


def _images(message: pb.ModelInferRequest, contract: Contract) -> list[Source]:
    """The images of all inputs, in their order."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise MalformedRequestError(
            f"raw_input_contents has {len(raw)} elements, inputs has {len(message.inputs)}"
        )
    images: list[Source] = []
    for index, tensor in enumerate(message.inputs):
        images.extend(_images_of(tensor, raw[index] if raw else None, contract))
    contract.check_count(len(images), "the request")
    return images


def _images_of(tensor: Any, raw: bytes | None, contract: Contract) -> Sequence[Source]:
    name = tensor.name
    shape = check_input(name, tensor.datatype, list(tensor.shape), contract)
    base64 = _parameters(tensor.parameters).get("content_type") == BASE64
    if raw is None:
        contents = getattr(tensor.contents, _CONTENTS[name])
        if name != IMAGE:
            return pixels_from_numbers(contents, shape)
        images: Sequence[bytes | memoryview] = list(contents)
        if len(images) != shape[0]:
            raise MalformedRequestError(
                f"input {name} has shape {shape}, but its bytes_contents has {len(images)} elements"
            )
    else:
        if tensor.HasField("contents"):
            raise MalformedRequestError(f"input {name} has both contents and raw_input_contents")
        if name != IMAGE:
            return pixels_from_bytes(memoryview(raw), shape)
        images = split_bytes(memoryview(raw), shape[0], name)
    if base64:
        return [from_base64(each, f"input {name}, image {i}") for i, each in enumerate(images)]
    return images


def _parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for key, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        values[key] = None if kind is None else getattr(parameter, kind)
    return values
