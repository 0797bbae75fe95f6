import base64
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.image import Pixels
from predictor.answer import Answer
from predictor.errors import MalformedRequestError, RequestError, TooLargeError
from predictor.protocol.tensors import (
    OUTPUTS,
    check_input,
    check_inputs,
    check_outputs,
    from_base64,
    join_bytes,
    output_tensors,
    pixels_from_bytes,
    pixels_from_numbers,
    split_bytes,
)
from predictor.query import Contract

CONTRACT = Contract(("normal", "effusion"), (3, 4), max_images=4)

pixels = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.just(3))
)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=10))
def test_byte_strings_survive_the_wire(elements: list[bytes]) -> None:
    split = split_bytes(memoryview(join_bytes(elements)), len(elements), "image")
    assert [bytes(each) for each in split] == elements


@given(st.binary(max_size=60), st.integers(1, 4))
def test_any_bytes_are_split_exactly_or_refused(data: bytes, count: int) -> None:
    try:
        elements = split_bytes(memoryview(data), count, "image")
    except MalformedRequestError:
        return
    assert len(elements) == count
    assert join_bytes([bytes(each) for each in elements]) == data


@given(pixels)
def test_pixels_are_the_same_in_every_form(array: Pixels) -> None:
    raw = pixels_from_bytes(memoryview(array.tobytes()), array.shape)
    nested = pixels_from_numbers(array.tolist(), array.shape)
    flat = pixels_from_numbers(array.ravel().tolist(), array.shape)
    for images in (raw, nested, flat):
        assert np.array_equal(np.stack([np.asarray(image) for image in images]), array)


def test_binary_pixels_are_not_copied() -> None:
    data = np.arange(2 * 2 * 2 * 3, dtype=np.uint8)
    (first, _) = pixels_from_bytes(data.data, (2, 2, 2, 3))
    assert np.shares_memory(np.asarray(first), data)


@given(st.binary(min_size=1, max_size=200), st.sampled_from(["", "data:image/png;base64,"]))
def test_base64_is_decoded_with_or_without_a_data_url(data: bytes, prefix: str) -> None:
    text = prefix + base64.b64encode(data).decode()
    assert from_base64(text, "image 0") == data
    assert from_base64(text.encode(), "image 0") == data


@pytest.mark.parametrize(
    "text", ["not base64!", "abc", 7, None, "data:image/png,AAAA", "é", ["AA"]]
)
def test_what_is_no_base64_is_named(text: object) -> None:
    with pytest.raises(MalformedRequestError, match=r"instances\[2\]"):
        from_base64(text, "instances[2]")


@pytest.mark.parametrize(
    ("name", "datatype", "shape", "message"),
    [
        ("picture", "BYTES", [1], "input 'picture' is unknown; accepted: image .* or pixels"),
        (None, "BYTES", [1], "input None is unknown"),
        (["image"], "BYTES", [1], "is unknown"),
        ("image", "UINT8", [1], "input image has datatype 'UINT8'; accepted: BYTES"),
        ("pixels", "FP32", [1, 8, 8, 3], "input pixels has datatype 'FP32'; accepted: UINT8"),
        ("image", "BYTES", [1, 1], r"input image has shape \[1, 1\]; accepted: \[N\]"),
        ("image", "BYTES", "1", "input image has shape '1'"),
        ("image", "BYTES", None, "input image has shape None"),
        ("image", "BYTES", [-1], r"input image has shape \[-1\]"),
        ("image", "BYTES", [True], r"input image has shape \[True\]"),
        ("image", "BYTES", [1.0], r"input image has shape \[1.0\]"),
        ("pixels", "UINT8", [8, 8, 3], r"accepted: \[N, height, width, 3\]"),
        ("pixels", "UINT8", [1, 8, 8, 4], r"accepted: \[N, height, width, 3\]"),
        ("pixels", "UINT8", [1, 2**40, 8, 3], "input pixels has shape"),
        ("image", "BYTES", [0], "at least one"),
        ("image", "BYTES", [5], "at most 4"),
        ("pixels", "UINT8", [1, 4, 100, 3], "at least 8 pixels"),
        ("pixels", "UINT8", [1, 2**20, 2**20, 3], "at most 64,000,000"),
    ],
)
def test_a_wrong_declaration_is_refused_with_what_is_accepted(
    name: object, datatype: object, shape: object, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        check_input(name, datatype, shape, CONTRACT)


def test_each_input_is_given_at_most_once_and_one_of_them_at_least() -> None:
    check_inputs(["image"])
    check_inputs(["pixels", "image"])
    with pytest.raises(MalformedRequestError, match="inputs are none; expected: image"):
        check_inputs([])
    with pytest.raises(MalformedRequestError, match="input 'image' is given twice; one tensor"):
        check_inputs(["image", "pixels", "image"])


def test_without_outputs_the_four_cheap_ones_are_given() -> None:
    assert check_outputs([]) == ("probabilities", "label", "confidence", "risk")
    assert check_outputs(["overlay", "label"]) == ("overlay", "label")
    with pytest.raises(
        MalformedRequestError, match=r"output 'heat' is unknown; accepted: prob.*cam"
    ):
        check_outputs(["label", "heat"])
    with pytest.raises(MalformedRequestError, match="twice"):
        check_outputs(["label", "label"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 2], [3]], "flat numbers or nesting of that shape"),
        ([0] * 11, "shape"),
        ([0] * 13, "shape"),
        ([0] * 11 + [256], "0 to 255"),
        ([0] * 11 + [-1], "0 to 255"),
        ([0] * 11 + [0.5], "0 to 255"),
        ([0] * 11 + ["7"], "0 to 255"),
        ([True] * 12, "0 to 255"),
        ([None] * 12, "0 to 255"),
        ([0] * 11 + [2**80], "0 to 255"),
        ([[[[0] * 3, [0] * 3]], [[[0] * 3, [0] * 3]]], "shape"),
        ("abc", "shape"),
        ({"a": 1}, "shape"),
    ],
)
def test_wrong_pixel_numbers_are_refused(values: object, message: str) -> None:
    with pytest.raises(MalformedRequestError, match=message):
        pixels_from_numbers(values, (1, 2, 2, 3))


def test_text_among_pixel_numbers_takes_no_memory() -> None:
    values: list[object] = [0] * 11 + ["x" * 50_000_000]
    tracemalloc.start()
    with pytest.raises(MalformedRequestError, match="0 to 255"):
        pixels_from_numbers(values, (1, 2, 2, 3))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 1_000_000


def test_a_wrong_amount_of_pixel_bytes_is_refused() -> None:
    with pytest.raises(MalformedRequestError, match="12 bytes, but its data has 11"):
        pixels_from_bytes(memoryview(bytes(11)), (1, 2, 2, 3))


def test_answers_become_tensors() -> None:
    answers = [
        Answer("normal", 0.75, "Minimal", np.array([0.75, 0.25], np.float32), "normal",
               np.full((3, 4), 2.0, np.float32), b"png 0",
               np.full((2, 3, 4), 2.0, np.float32), b"display 0"),
        Answer("effusion", 0.5, "Indeterminate", np.array([0.5, 0.5], np.float32), "effusion",
               np.full((3, 4), 3.0, np.float32), b"png 1",
               np.full((2, 3, 4), 3.0, np.float32), b"display 1"),
    ]  # fmt: skip
    tensors = {tensor.name: tensor for tensor in output_tensors(answers, OUTPUTS)}
    assert tuple(tensors) == OUTPUTS
    assert [(t.datatype, t.shape) for t in tensors.values()] == [
        ("FP32", [2, 2]),
        ("BYTES", [2]),
        ("FP32", [2]),
        ("BYTES", [2]),
        ("FP32", [2, 3, 4]),
        ("BYTES", [2]),
        ("FP32", [2, 2, 3, 4]),
        ("BYTES", [2]),
    ]
    assert tensors["label"].to_bytes() == b"\x06\x00\x00\x00normal\x08\x00\x00\x00effusion"
    assert tensors["confidence"].to_bytes() == np.array([0.75, 0.5], "<f4").tobytes()
    assert np.frombuffer(tensors["cam"].to_bytes(), "<f4").reshape(2, 3, 4)[1, 2, 3] == 3.0
    assert tensors["overlay"].values == [b"png 0", b"png 1"]
    assert tensors["display"].values == [b"display 0", b"display 1"]
    assert not tensors["overlay"].text
    assert not tensors["display"].text


def test_too_many_images_is_another_status_than_a_wrong_shape() -> None:
    with pytest.raises(TooLargeError):
        check_input("image", "BYTES", [5], CONTRACT)
