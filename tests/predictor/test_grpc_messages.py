from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from predictor.answer import Answer, Answers, Timings
from predictor.errors import MalformedRequestError, RequestError
from predictor.protocol import grpc as protocol
from predictor.protocol.tensors import OUTPUTS, join_bytes
from predictor.query import Contract

CONTRACT = Contract(("normal", "effusion"), (2, 2), max_images=16)


def message(
    name: str = "image",
    datatype: str = "BYTES",
    shape: tuple[int, ...] = (1,),
    outputs: tuple[str, ...] = (),
    raw: list[bytes] | None = None,
    contents: Any = None,
) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m", id="7", raw_input_contents=raw)
    request.inputs.add(name=name, datatype=datatype, shape=shape, contents=contents)
    for each in outputs:
        request.outputs.add(name=each)
    return request


@given(st.lists(st.binary(min_size=1, max_size=100), min_size=1, max_size=8))
def test_images_arrive_in_order_raw_and_typed(contents: list[bytes]) -> None:
    shape = (len(contents),)
    raw = protocol.parse(message(shape=shape, raw=[join_bytes(contents)]), CONTRACT)
    typed = protocol.parse(message(shape=shape, contents={"bytes_contents": contents}), CONTRACT)
    for request in (raw, typed):
        assert [bytes(image) for image in request.query.images] == contents
        assert request.id == "7"


def test_base64_is_decoded_when_it_is_announced() -> None:
    request = message(contents={"bytes_contents": [b"eHl6"]})
    request.inputs[0].parameters["content_type"].string_param = "base64"
    assert list(protocol.parse(request, CONTRACT).query.images) == [b"xyz"]


def test_pixels_arrive_raw_and_typed() -> None:
    array = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    raw = message("pixels", "UINT8", array.shape, raw=[array.tobytes()])
    numbers = {"uint_contents": array.ravel().tolist()}
    typed = message("pixels", "UINT8", array.shape, contents=numbers)
    for request in (raw, typed):
        images = protocol.parse(request, CONTRACT).query.images
        assert np.array_equal(np.stack([np.asarray(image) for image in images]), array)


def both(raw: bool) -> pb.ModelInferRequest:
    array = np.arange(8 * 8 * 3, dtype=np.uint8)
    request = message("pixels", "UINT8", (1, 8, 8, 3))
    request.inputs.add(name="image", datatype="BYTES", shape=[2])
    if raw:
        request.raw_input_contents.extend([array.tobytes(), join_bytes([b"x", b"yz"])])
    else:
        request.inputs[0].contents.uint_contents.extend(array.tolist())
        request.inputs[1].contents.bytes_contents.extend([b"x", b"yz"])
    return request


@pytest.mark.parametrize("raw", [True, False])
def test_both_inputs_in_one_request_are_answered_in_their_order(raw: bool) -> None:
    first, *rest = protocol.parse(both(raw), CONTRACT).query.images
    assert np.asarray(first).ravel().tolist() == list(range(192))
    assert [bytes(each) for each in rest] == [b"x", b"yz"]


def test_raw_contents_are_needed_for_every_input_or_none() -> None:
    request = both(raw=True)
    del request.raw_input_contents[1:]
    with pytest.raises(MalformedRequestError, match="has 1 elements, inputs has 2"):
        protocol.parse(request, CONTRACT)


kinds = st.sampled_from(["bytes_contents", "uint_contents", "int_contents", "fp32_contents"])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["image", "pixels", "", "other"]),
            st.sampled_from(["BYTES", "UINT8", "FP32", ""]),
            st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9), max_size=5),
            st.none() | st.tuples(kinds, st.integers(0, 200)),
            st.none() | st.sampled_from(["base64", "x"]),
        ),
        max_size=3,
    ),
    st.lists(st.binary(max_size=40), max_size=3),
    st.lists(st.sampled_from([*OUTPUTS, "", "x"]), max_size=3),
    st.none() | st.text(max_size=6) | st.integers(-(2**63), 2**63 - 1) | st.booleans(),
)
def test_any_message_is_parsed_or_refused(
    inputs: list[Any], raw: list[bytes], outputs: list[str], explain_class: Any
) -> None:
    request = pb.ModelInferRequest(raw_input_contents=raw)
    for name, datatype, shape, contents, content_type in inputs:
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        if contents is not None:
            kind, count = contents
            values = [b"eA=="] * count if kind == "bytes_contents" else [7] * count
            getattr(tensor.contents, kind).extend(values)
        if content_type is not None:
            tensor.parameters["content_type"].string_param = content_type
    for name in outputs:
        request.outputs.add(name=name)
    if isinstance(explain_class, bool):
        request.parameters["explain_class"].bool_param = explain_class
    elif isinstance(explain_class, int):
        request.parameters["explain_class"].int64_param = explain_class
    elif explain_class is not None:
        request.parameters["explain_class"].string_param = explain_class
    with suppress(RequestError):
        assert protocol.parse(request, CONTRACT).query.images


@pytest.mark.parametrize("value", ["effusion", 1])
def test_the_explained_class_is_a_parameter(value: str | int) -> None:
    request = message(raw=[join_bytes([b"x"])], outputs=("cam",))
    if isinstance(value, str):
        request.parameters["explain_class"].string_param = value
    else:
        request.parameters["explain_class"].int64_param = value
    assert protocol.parse(request, CONTRACT).query.explain_class == 1


@pytest.mark.parametrize(
    ("request_message", "text"),
    [
        (pb.ModelInferRequest(), "inputs are none"),
        (message("picture", raw=[b""]), "input 'picture' is unknown"),
        (message(datatype="UINT8", raw=[b""]), "datatype 'UINT8'"),
        (message(outputs=("heat",), raw=[b""]), "output 'heat' is unknown"),
        (message(contents={"bytes_contents": [b"x", b"y"]}), "bytes_contents has 2 elements"),
        (message(raw=[b"x"], contents={"bytes_contents": [b"x"]}), "both contents and raw"),
        (message(raw=[b"x", b"y"]), "raw_input_contents has 2 elements"),
        (message(raw=[b"\x09\x00\x00\x00x"]), "element 0 should have 9 bytes, but 1 are left"),
        (message("pixels", "UINT8", (1, 8, 8, 3), raw=[b"x"]), "its data has 1"),
        (message("pixels", "UINT8", (1, 8, 8, 3)), "its data has 0 values"),
    ],
)
def test_a_malformed_request_is_refused_naming_the_field(
    request_message: pb.ModelInferRequest, text: str
) -> None:
    with pytest.raises(MalformedRequestError, match=text):
        protocol.parse(request_message, CONTRACT)


def test_answers_are_raw_tensors_in_the_order_asked() -> None:
    cam = np.ones((2, 2), np.float32)
    cams = np.ones((2, 2, 2), np.float32)
    answer = Answer(
        "normal", 0.75, "Low", np.array([0.75, 0.25], np.float32), "normal", cam, b"p", cams, b"d"
    )
    request = protocol.parse(message(raw=[join_bytes([b"x"])], outputs=OUTPUTS), CONTRACT)
    response = protocol.build(request, Answers([answer], Timings(0.0015)), "m", "4")
    assert (response.model_name, response.model_version, response.id) == ("m", "4", "7")
    assert [output.name for output in response.outputs] == list(OUTPUTS)
    assert [list(output.shape) for output in response.outputs] == [
        [1, 2],
        [1],
        [1],
        [1],
        [1, 2, 2],
        [1],
        [1, 2, 2, 2],
        [1],
    ]
    assert np.frombuffer(response.raw_output_contents[0], "<f4").tolist() == [0.75, 0.25]
    assert response.raw_output_contents[1] == join_bytes([b"normal"])
    assert response.raw_output_contents[5] == join_bytes([b"p"])
    assert response.raw_output_contents[7] == join_bytes([b"d"])
    assert response.parameters["decode_ms"].string_param == "1.5"
