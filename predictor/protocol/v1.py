"""The V1 protocol: `:predict` and `:explain`, with JSON, a bare image or a form of files.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from predictor.answer import Answer, Answers
from predictor.errors import ContentTypeError, MalformedRequestError
from predictor.protocol.tensors import from_base64
from predictor.query import Contract, Query, Source, shown

JSON = "application/json"
IMAGES = ("image/jpeg", "image/png", "application/dicom")
FORM = "multipart/form-data"
ACCEPTED = (JSON, *IMAGES, FORM)

PREDICT = "predict"
EXPLAIN = "explain"

# What may be said in the address, in a form or in JSON.
OPTIONS = ("explain", "explain_class")
Options = Mapping[str, Any]

_KEYS = ("instances", *OPTIONS)


def media_type(content_type: str | None) -> str:
    """The type without its parameters; JSON if nothing is said.

    Raises:
        ContentTypeError: it is not one of :data:`ACCEPTED`.
    """
    found = (content_type or JSON).partition(";")[0].strip().lower()
    if found not in ACCEPTED:
        raise ContentTypeError(f"content-type is {found[:80]!r}; accepted: {', '.join(ACCEPTED)}")
    return found


def parse_json(
    body: bytes | bytearray | memoryview, verb: str, contract: Contract, options: Options
) -> Query:
    """Understand `{"instances": [{"b64": "..."} or "...", ...]}`.

    Args:
        body: the request.
        verb: `predict` or `explain`.
        contract: what the model accepts.
        options: from the address; the document's own win.

    Raises:
        RequestError: something is wrong with it; names it and what is accepted.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequestError(f"the request is not valid JSON: {error.msg}") from None
    if not isinstance(document, dict):
        raise MalformedRequestError("the request is not a JSON object")
    unknown = [key for key in document if key not in _KEYS]
    if unknown:
        raise MalformedRequestError(f"{shown(unknown[0])} is unknown; accepted: {', '.join(_KEYS)}")
    instances = document.get("instances")
    if not isinstance(instances, list):
        raise MalformedRequestError('instances is not a list; expected [{"b64": "..."}, ...]')
    contract.check_count(len(instances), "instances")
    images = [_instance(each, f"instances[{index}]") for index, each in enumerate(instances)]
    return make_query(images, verb, contract, {**options, **document})


def make_query(images: Sequence[Source], verb: str, contract: Contract, options: Options) -> Query:
    """A query of files, for the forms of request that are not JSON."""
    contract.check_count(len(images), "the request")
    explain = _explain(options, verb)
    return Query(images, explain, explain, contract.class_index(options.get("explain_class")))


def _explain(options: Options, verb: str) -> bool:
    """`:explain` always explains; `:predict` if `explain` says so."""
    value = options.get("explain", verb == EXPLAIN)
    flag = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
    accepted = (True,) if verb == EXPLAIN else (True, False)
    if not isinstance(flag, bool) or flag not in accepted:
        names = ", ".join(str(each).lower() for each in accepted)
        raise MalformedRequestError(f"explain is {shown(value)}; accepted by :{verb}: {names}")
    return flag


def build(
    answers: Answers, class_keys: Sequence[str], model_name: str, model_version: str
) -> bytes:
    """Write `{"predictions": [...]}`."""
    document = {
        "predictions": [_prediction(answer, class_keys) for answer in answers.answers],
        "model_name": model_name,
        "model_version": model_version,
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _instance(value: object, where: str) -> bytes:
    if isinstance(value, Mapping):
        if set(value) != {"b64"}:
            found = ", ".join(repr(key) for key in value) or "nothing"
            raise MalformedRequestError(f'{where} has {found[:80]}; accepted: {{"b64": "..."}}')
        return from_base64(value["b64"], f"{where}.b64")
    return from_base64(value, where)


def _prediction(answer: Answer, class_keys: Sequence[str]) -> dict[str, Any]:
    prediction: dict[str, Any] = {
        "label": answer.label,
        "confidence": answer.confidence,
        "risk": answer.risk,
        "probabilities": dict(zip(class_keys, answer.probabilities.tolist(), strict=True)),
    }
    if answer.explained_class is not None and answer.cam is not None:
        prediction["explained_class"] = answer.explained_class
        prediction["cam"] = answer.cam.tolist()
        prediction["overlay"] = {"b64": base64.b64encode(answer.overlay or b"").decode()}
    return prediction
