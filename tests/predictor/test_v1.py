import base64
import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.answer import Answer, Answers
from predictor.errors import (
    ContentTypeError,
    MalformedRequestError,
    RequestError,
    TooLargeError,
)
from predictor.protocol import v1
from predictor.query import Contract, Query

CONTRACT = Contract(("normal", "effusion"), (2, 2), max_images=16)


def parse(document: object, verb: str = v1.PREDICT, **options: object) -> Query:
    return v1.parse_json(json.dumps(document).encode(), verb, CONTRACT, options)


@given(st.lists(st.binary(min_size=1, max_size=100), min_size=1, max_size=8), st.booleans())
def test_instances_arrive_in_order_in_either_form(contents: list[bytes], plain: bool) -> None:
    texts = [base64.b64encode(content).decode() for content in contents]
    instances = texts if plain else [{"b64": text} for text in texts]
    query = parse({"instances": instances})
    assert [bytes(image) for image in query.images] == contents
    assert not query.explained


def test_explain_asks_for_map_and_overlay() -> None:
    document = {"instances": [{"b64": "eA=="}]}
    query = parse(document, v1.EXPLAIN, explain_class="effusion")
    assert (query.cam, query.overlay, query.explain_class) == (True, True, 1)
    assert (
        parse({**document, "explain_class": 0}, v1.EXPLAIN, explain_class="effusion").explain_class
        == 0
    )


@pytest.mark.parametrize("value", [True, "true"])
def test_predict_explains_when_it_is_told_to(value: object) -> None:
    document = {"instances": [{"b64": "eA=="}]}
    assert parse(document, explain=value).explained
    assert parse({**document, "explain": value}).explained
    assert not parse({**document, "explain": False}, explain="true").explained
    assert not parse(document).explained


@pytest.mark.parametrize(
    ("verb", "value", "accepted"),
    [
        (v1.PREDICT, "yes", "true, false"),
        (v1.PREDICT, 1, "true, false"),
        (v1.PREDICT, None, "true, false"),
        (v1.EXPLAIN, False, "true"),
        (v1.EXPLAIN, "false", "true"),
    ],
)
def test_a_wrong_explain_is_refused(verb: str, value: object, accepted: str) -> None:
    with pytest.raises(MalformedRequestError, match=rf"accepted by :{verb}: {accepted}$"):
        parse({"instances": [{"b64": "eA=="}], "explain": value}, verb)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "not a JSON object"),
        ({}, "instances is not a list"),
        ({"instances": "eA=="}, "instances is not a list"),
        ({"instances": []}, "at least one"),
        ({"instances": [{"b65": "eA=="}]}, r"instances\[0\] has 'b65'; accepted"),
        ({"instances": [{"b64": "eA=="}, {}]}, r"instances\[1\] has nothing"),
        ({"instances": [{"b64": "eA=="}, {"b64": "!"}]}, r"instances\[1\].b64 is not valid base64"),
        ({"instances": [7]}, r"instances\[0\] is not a string"),
        ({"instances": ["eA=="], "inputs": []}, "'inputs' is unknown; accepted: instances"),
        ({"instances": ["eA=="], "k" * 9000: 1}, r"^'k{9,60}\.\.\.k{9,60}' is unknown"),
        ({"instances": ["eA=="], "explain_class": "x"}, "explain_class is 'x'"),
    ],
)
def test_a_malformed_request_is_refused_naming_the_field(document: object, message: str) -> None:
    with pytest.raises(MalformedRequestError, match=message):
        parse(document)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
base64_like = st.text("AZaz09+/=- \n", max_size=8) | st.just("data:image/png;base64,eA==")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "instances": st.lists(
                json_values
                | base64_like
                | st.fixed_dictionaries({"b64": base64_like | json_values}),
                max_size=3,
            )
            | json_values,
            "explain": json_values,
            "explain_class": json_values | st.just("9" * 5000),
        },
    )
    | json_values,
    st.sampled_from([v1.PREDICT, v1.EXPLAIN]),
)
def test_any_document_is_parsed_or_refused(document: object, verb: str) -> None:
    with suppress(RequestError):
        assert parse(document, verb).images


@given(st.binary(max_size=100), st.sampled_from([v1.PREDICT, v1.EXPLAIN]))
def test_any_bytes_are_refused(body: bytes, verb: str) -> None:
    with pytest.raises(RequestError):
        v1.parse_json(body, verb, CONTRACT, {})


def test_too_many_instances_are_refused() -> None:
    with pytest.raises(TooLargeError, match="17 images; at most 16"):
        parse({"instances": ["eA=="] * 17})


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(MalformedRequestError, match="not valid JSON"):
        v1.parse_json(b"\xff\xd8\xff", v1.PREDICT, CONTRACT, {})


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (None, "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("Image/JPEG", "image/jpeg"),
        ("multipart/form-data; boundary=x", "multipart/form-data"),
    ],
)
def test_the_media_type_is_read_without_its_parameters(header: str | None, kind: str) -> None:
    assert v1.media_type(header) == kind


def test_another_media_type_is_refused_with_those_accepted() -> None:
    with pytest.raises(ContentTypeError, match="'text/plain'; accepted: application/json, image/j"):
        v1.media_type("text/plain")


def test_predictions_name_every_class_and_explanations_only_when_asked() -> None:
    probabilities = np.array([0.25, 0.75], np.float32)
    plain = Answer("effusion", 0.75, "High", probabilities)
    cam = np.array([[0, 1], [2, 3]], np.float32)
    explained = Answer("effusion", 0.75, "High", probabilities, "normal", cam, b"png")
    document = json.loads(v1.build(Answers([plain, explained]), CONTRACT.class_keys, "m", "3"))
    assert (document["model_name"], document["model_version"]) == ("m", "3")
    expected = {
        "label": "effusion",
        "confidence": 0.75,
        "risk": "High",
        "probabilities": {"normal": 0.25, "effusion": 0.75},
    }
    assert document["predictions"][0] == expected
    assert document["predictions"][1] == {
        **expected,
        "explained_class": "normal",
        "cam": [[0.0, 1.0], [2.0, 3.0]],
        "overlay": {"b64": base64.b64encode(b"png").decode()},
    }
