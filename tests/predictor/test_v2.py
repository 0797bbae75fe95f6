import base64
import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.answer import Answer, Answers, Timings
from predictor.errors import MalformedRequestError, RequestError, TooLargeError
from predictor.protocol import v2
from predictor.protocol.tensors import OUTPUTS, join_bytes, split_bytes
from predictor.query import Contract

CONTRACT = Contract(("normal", "effusion"), (2, 2), max_images=16)

ANSWERS = Answers(
    [
        Answer("normal", 0.75, "Minimal", np.array([0.75, 0.25], np.float32), "normal",
               np.array([[0, 1], [2, 3]], np.float32), b"\x89PNG\xff",
               np.ones((2, 2, 2), np.float32), b"\x89PNG\x00"),
        Answer("effusion", 1.0, "High", np.array([0.0, 1.0], np.float32), "effusion",
               np.zeros((2, 2), np.float32), b"", np.zeros((2, 2, 2), np.float32), b""),
    ],
    Timings(0.001, 0.002, 0.003, 0.004),
)  # fmt: skip


def json_request(*images: bytes, **changes: Any) -> dict[str, Any]:
    tensor: dict[str, Any] = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [len(images)],
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(image).decode() for image in images],
    }
    return {"inputs": [tensor], **changes}


def binary_request(*images: bytes, **changes: Any) -> tuple[bytes, str]:
    blob = join_bytes(images)
    tensor: dict[str, Any] = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [len(images)],
        "parameters": {"binary_data_size": len(blob)},
    }
    header = json.dumps({"inputs": [tensor], **changes}).encode()
    return header + blob, str(len(header))


def parse(document: object) -> v2.InferRequest:
    return v2.parse(json.dumps(document).encode(), None, CONTRACT)


images = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8)


@given(images)
def test_images_arrive_in_order_in_json_and_in_binary(contents: list[bytes]) -> None:
    from_json = parse(json_request(*contents)).query
    body, length = binary_request(*contents)
    from_binary = v2.parse(body, length, CONTRACT).query
    for query in (from_json, from_binary):
        assert [bytes(image) for image in query.images] == contents


@given(
    st.sets(st.sampled_from(OUTPUTS), min_size=1).map(sorted),
    st.sets(st.sampled_from(OUTPUTS)),
    st.booleans(),
)
def test_every_mixture_of_json_and_binary_outputs_can_be_read(
    names: list[str], binary: set[str], by_default: bool
) -> None:
    wanted = [
        {"name": name, "parameters": {"binary_data": name in binary}}
        if (name in binary) != by_default
        else {"name": name}
        for name in names
    ]
    document = json_request(
        b"x", id="7", outputs=wanted, parameters={"binary_data_output": by_default}
    )
    request = parse(document)
    response = v2.build(request, ANSWERS, "m", "1")
    length = response.headers.get(v2.HEADER_LENGTH)
    assert (length is not None) == bool(binary & set(names))
    end = len(response.body) if length is None else int(length)
    header, rest = json.loads(response.body[:end]), response.body[end:]
    assert [output["name"] for output in header["outputs"]] == names
    assert (header["id"], header["model_name"], header["model_version"]) == ("7", "m", "1")
    expected: dict[str, list[Any]] = {
        "probabilities": [0.75, 0.25, 0.0, 1.0],
        "confidence": [0.75, 1.0],
        "cam": [0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0],
        "label": ["normal", "effusion"],
        "risk": ["Minimal", "High"],
        "overlay": [base64.b64encode(b"\x89PNG\xff").decode(), ""],
        "cams": [1.0] * 8 + [0.0] * 8,
        "display": [base64.b64encode(b"\x89PNG\x00").decode(), ""],
    }
    for output in header["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        assert (size is not None) == (output["name"] in binary)
        if size is None:
            assert output["data"] == expected[output["name"]]
            continue
        blob, rest = rest[:size], rest[size:]
        if output["datatype"] == "FP32":
            assert np.frombuffer(blob, "<f4").tolist() == expected[output["name"]]
        else:
            values = [bytes(value) for value in split_bytes(memoryview(blob), 2, "output")]
            pictures = {"overlay": [b"\x89PNG\xff", b""], "display": [b"\x89PNG\x00", b""]}
            plain = pictures.get(output["name"])
            assert values == (plain or [str(text).encode() for text in expected[output["name"]]])
    assert rest == b""


def test_an_overlay_in_json_says_that_it_is_base64() -> None:
    request = parse(json_request(b"x", outputs=[{"name": "overlay"}]))
    (output,) = json.loads(v2.build(request, ANSWERS, "m", "1").body)["outputs"]
    assert output["parameters"] == {"content_type": "base64"}


def test_timings_are_given_in_milliseconds() -> None:
    document = json.loads(v2.build(parse(json_request(b"x")), ANSWERS, "m", "1").body)
    assert document["parameters"] == {
        "decode_ms": 1.0, "queue_ms": 2.0, "infer_ms": 3.0, "encode_ms": 4.0,
    }  # fmt: skip
    assert "id" not in document


def test_an_explanation_is_computed_only_when_it_is_listed() -> None:
    assert not parse(json_request(b"x")).query.explained
    query = parse(
        json_request(b"x", outputs=[{"name": "cam"}], parameters={"explain_class": "effusion"})
    ).query
    assert (query.cam, query.overlay, query.explain_class) == (True, False, 1)


def test_pixels_come_as_numbers_or_as_bytes() -> None:
    array = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    tensor: dict[str, Any] = {"name": "pixels", "datatype": "UINT8", "shape": [2, 8, 8, 3]}
    from_json = parse({"inputs": [{**tensor, "data": array.tolist()}]}).query
    header = json.dumps(
        {"inputs": [{**tensor, "parameters": {"binary_data_size": array.nbytes}}]}
    ).encode()
    from_binary = v2.parse(header + array.tobytes(), str(len(header)), CONTRACT).query
    for query in (from_json, from_binary):
        assert np.array_equal(np.stack([np.asarray(image) for image in query.images]), array)


IMAGE = json_request(b"x")["inputs"][0]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the request is not a JSON object"),
        ({}, "inputs are none; expected: image"),
        ({"inputs": {}}, "inputs is not a list"),
        ({"inputs": ["image"]}, r"inputs\[0\] is not a JSON object"),
        ({"inputs": [IMAGE, IMAGE]}, "input 'image' is given twice"),
        ({"inputs": [IMAGE], "outputs": [{"name": "heat"}]}, "output 'heat' is unknown"),
        ({"inputs": [IMAGE], "outputs": [{}]}, "output None is unknown"),
        ({"inputs": [IMAGE], "outputs": [{"name": ["label"]}]}, "is unknown"),
        ({"inputs": [IMAGE], "id": 7}, "id is not a string"),
        ({"inputs": [IMAGE], "parameters": []}, "parameters of the request is not"),
        ({"inputs": [IMAGE], "parameters": {"explain_class": "x"}}, "explain_class is 'x'"),
        ({"inputs": [IMAGE], "parameters": {"binary_data_output": 1}}, "binary_data_output is 1"),
        ({"inputs": [{**IMAGE, "parameters": {}}]}, "must be base64 and say so with"),
        ({"inputs": [{**IMAGE, "shape": [2]}]}, r"shape \[2\], but its data has 1 elements"),
        ({"inputs": [{**IMAGE, "data": "eA=="}]}, "its data has no list"),
        ({"inputs": [{**IMAGE, "data": ["?"]}]}, "input image, image 0 is not valid base64"),
        ({"inputs": [{**IMAGE, "datatype": "FP32"}]}, "datatype 'FP32'; accepted: BYTES"),
        (
            {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1]}]},
            "neither data nor binary_data_size",
        ),
        (
            {"inputs": [{**IMAGE, "parameters": {"binary_data_size": 9}}]},
            "both data and binary_data_size",
        ),
    ],
)
def test_a_malformed_request_is_refused_naming_the_field(document: object, message: str) -> None:
    with pytest.raises(MalformedRequestError, match=message):
        parse(document)


def test_binary_data_must_be_announced_with_its_size() -> None:
    body, length = binary_request(b"x")
    with pytest.raises(MalformedRequestError, match="1 bytes follow the JSON that no input"):
        v2.parse(body + b"!", length, CONTRACT)
    header = json.dumps(json_request(b"x")).encode()
    with pytest.raises(MalformedRequestError, match="2 bytes follow the JSON that no input"):
        v2.parse(header + b"!!", str(len(header)), CONTRACT)


PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": [2, 8, 8, 3]}


@pytest.mark.parametrize("pixels_first", [True, False])
def test_both_inputs_in_one_request_are_answered_in_their_order(pixels_first: bool) -> None:
    array = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    blob = join_bytes([b"x", b"yz"])
    files = {"name": "image", "datatype": "BYTES", "shape": [2]}
    parts: list[tuple[dict[str, Any], bytes]] = [
        ({**files, "parameters": {"binary_data_size": len(blob)}}, blob),
        ({**PIXELS, "parameters": {"binary_data_size": array.nbytes}}, array.tobytes()),
    ]
    parts = parts[::-1] if pixels_first else parts
    header = json.dumps({"inputs": [part[0] for part in parts]}).encode()
    body = header + b"".join(part[1] for part in parts)
    images = list(v2.parse(body, str(len(header)), CONTRACT).query.images)
    pixels, encoded = (images[:2], images[2:]) if pixels_first else (images[2:], images[:2])
    assert [bytes(image) for image in encoded] == [b"x", b"yz"]
    assert np.array_equal(np.stack([np.asarray(image) for image in pixels]), array)


def test_one_input_may_be_in_json_and_the_other_in_binary() -> None:
    array = np.zeros((2, 8, 8, 3), np.uint8)
    pixels = {**PIXELS, "parameters": {"binary_data_size": array.nbytes}}
    header = json.dumps({"inputs": [*json_request(b"x")["inputs"], pixels]}).encode()
    images = v2.parse(header + array.tobytes(), str(len(header)), CONTRACT).query.images
    assert len(images) == 3


def test_the_images_of_both_inputs_count_together() -> None:
    array = np.zeros((2, 8, 8, 3), np.uint8)
    document = json_request(*[b"x"] * 15)
    document["inputs"].append({**PIXELS, "data": array.tolist()})
    with pytest.raises(TooLargeError, match="the request has 17 images; at most 16"):
        parse(document)


def test_binary_pixels_are_views_of_the_body() -> None:
    array = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    tensor = {**PIXELS, "parameters": {"binary_data_size": array.nbytes}}
    header = json.dumps({"inputs": [tensor]}).encode()
    body = bytearray(header + array.tobytes())
    whole = np.frombuffer(body, np.uint8)
    for image in v2.parse(body, str(len(header)), CONTRACT).query.images:
        assert isinstance(image, np.ndarray)
        assert np.shares_memory(image, whole)


@pytest.mark.parametrize("size", [-1, 2**70, 1.0, True, "5", None, [5]])
def test_a_wrong_binary_data_size_is_refused(size: object) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    header = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}).encode()
    with pytest.raises(MalformedRequestError, match=r"binary_data_size|no input"):
        v2.parse(header + b"\1\0\0\0x", str(len(header)), CONTRACT)


def test_the_last_of_two_equal_keys_counts() -> None:
    request = json.dumps(json_request(b"x", id="2")).encode()
    twice = b'{"id": "1", ' + request[1:]
    assert v2.parse(twice, None, CONTRACT).id == "2"


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "[" * 2000 + "]" * 2000, '"\\ud800"', "9" * 5000, "1e999", '{"a": 1,}'],
)
@pytest.mark.parametrize("key", ["id", "parameters", "inputs", "outputs", "shape", "data"])
def test_json_that_other_parsers_choke_on_is_refused(key: str, text: str) -> None:
    document = json.dumps(json_request(b"x", id="?", parameters={}, outputs=[]))
    for name in ("id", "parameters", "outputs"):
        if name == key:
            document = document[:-1] + f', "{key}": {text}}}'
    if key == "inputs":
        document = f'{{"inputs": [{text}]}}'
    if key in ("shape", "data"):
        document = document.replace(
            '"shape": [1]', '"shape": [1]' if key == "data" else f'"shape": {text}'
        )
        document = document.replace('["eA=="]', text) if key == "data" else document
    with pytest.raises(RequestError) as caught:
        v2.parse(document.encode(), None, CONTRACT)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("depth", [50, 500, 1000])
@pytest.mark.parametrize("key", ["id", "shape", "data", "name", "datatype"])
def test_deep_nesting_is_refused_like_any_other_value(key: str, depth: int) -> None:
    document = json_request(b"x")
    (document if key == "id" else document["inputs"][0])[key] = "HERE"
    text = json.dumps(document).replace('"HERE"', "[" * depth + "]" * depth)
    with pytest.raises(MalformedRequestError) as caught:
        v2.parse(text.encode(), None, CONTRACT)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("length", ["-1", "abc", "1000000", "", "1.5", "9" * 5000, "+1", "1_0"])
def test_a_wrong_header_length_is_refused(length: str) -> None:
    with pytest.raises(MalformedRequestError, match=v2.HEADER_LENGTH):
        v2.parse(b"{}", length, CONTRACT)


@given(st.binary(max_size=200), st.none() | st.text("0123456789", max_size=3))
def test_any_bytes_are_refused_and_nothing_else_happens(body: bytes, length: str | None) -> None:
    with pytest.raises(RequestError):
        v2.parse(body, length, CONTRACT)


scalars = st.none() | st.booleans() | st.integers(-5, 300) | st.floats(allow_nan=False)
json_values = st.recursive(
    scalars | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "inputs": st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "name": st.sampled_from(["image", "pixels"]) | json_values,
                        "datatype": st.sampled_from(["BYTES", "UINT8"]) | json_values,
                        "shape": st.lists(st.integers(0, 9), max_size=4) | json_values,
                        "parameters": json_values,
                        "data": json_values,
                    },
                ),
                max_size=2,
            )
            | json_values,
            "outputs": json_values,
            "parameters": json_values,
            "id": json_values,
        },
    )
)
def test_any_document_is_parsed_or_refused(document: object) -> None:
    with suppress(RequestError):
        assert parse(document).query.images
