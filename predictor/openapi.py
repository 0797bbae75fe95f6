"""What the server accepts over HTTP, as an OpenAPI 3.1 document made from the code's own constants.

Every request example in it is answered as it says: a test sends them all.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus

import numpy as np

from model.png import encode_png
from predictor import deadline, errors
from predictor.journal import REQUEST_ID
from predictor.protocol import v1, v2
from predictor.protocol.metadata import server_metadata
from predictor.protocol.schemas import NAMES, REF, Json, json_schemas
from predictor.protocol.tensors import BASE64, IMAGE, INPUTS, PIXELS
from predictor.served import Served

# Whatever an inference request may be refused with; the text is the class's own.
FAILURES: tuple[type[errors.RequestError], ...] = (
    errors.MalformedRequestError,
    errors.UnauthorisedError,
    errors.UnknownModelError,
    errors.SlowRequestError,
    errors.TooLargeError,
    errors.ContentTypeError,
    errors.QueueFullError,
    errors.EngineError,
    errors.NotReadyError,
    errors.DeadlineError,
)

# Headers and query parameters that every inference request may carry.
COMMON_PARAMETERS: tuple[Json, ...] = (
    {
        "name": REQUEST_ID,
        "in": "header",
        "description": "Comes back in the answer and stands in the log. Any other than letters, "
        "digits and ._:- (128 at most) is replaced.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"},
    },
    *(
        {
            "name": name,
            "in": "header",
            "description": f"How long the client waits for the answer, in {unit}",
            "schema": {"type": "string", "pattern": f"^{deadline.NUMBER.pattern}$"},
        }
        for name, (unit, _) in deadline.UNITS.items()
    ),
)

# Asked for only where the server was started with a file of tokens.
SECURITY: list[Json] = [{}, {"token": []}]


def document(served: Served) -> Json:
    """The document for a loaded model: its name, version, classes and limits are filled in."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Sightline: {served.name}",
            "version": server_metadata()["version"],
            "description": "Explained image classification over KServe's V1 and V2 protocols. "
            "Not a medical device; no answer is a diagnosis.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name} for name in ("inference", "model", "health")],
        "paths": {**_state_paths(served), **_v2_paths(served), **_v1_paths(served)},
        "components": {
            "schemas": json_schemas(served.name, served.contract, served.bundle.manifest.risk),
            "responses": _failures(FAILURES),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _state_paths(served: Served) -> Json:
    version = [{**_name(served)}, _version(served)]
    ready = {"type": "object", "required": ["ready"], "properties": {"ready": {"const": True}}}
    model_ready = {
        **ready,
        "required": ["name", "ready"],
        "properties": {"name": {"const": served.name}, "ready": {"const": True}},
    }
    live = {"type": "object", "required": ["live"], "properties": {"live": {"const": True}}}
    models = {"type": "object", "required": ["models"], "properties": {"models": NAMES}}
    one, of_version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
    named, unready = [_name(served)], (errors.UnknownModelError, errors.NotReadyError)
    closed = (errors.UnauthorisedError,)
    alive = {"type": "object", "properties": {"status": {"const": "alive"}}}
    return {
        "/": _get("health", "Whether the process answers; a page for a browser", alive),
        "/v2": _get("model", "The server and its extensions", {"$ref": REF + "Server"}, (), closed),
        "/v2/health/live": _get("health", "Whether the process answers", live),
        "/v2/health/ready": _get(
            "health", "Whether the model answers", ready, (), (errors.NotReadyError,)
        ),
        "/v2/models": _get("model", "Names of the models", models, (), closed),
        one: _get("model", "Inputs, outputs and classes", _model(), named, (*closed, *unready)),
        of_version: _get("model", "The same, of a version", _model(), version, (*closed, *unready)),
        f"{one}/ready": _get("health", "Whether it answers", model_ready, named, unready),
        f"{of_version}/ready": _get("health", "The same", model_ready, version, unready),
        "/v1/models": _get("model", "Names of the models", models, (), closed),
        "/v1/models/{name}": _get("health", "Whether it answers", model_ready, named, unready),
        "/metrics": _get("health", "For Prometheus", {"type": "string"}, media="text/plain"),
        "/openapi.json": _get("model", "This document", {"type": "object"}, (), closed),
    }


def _v2_paths(served: Served) -> Json:
    length = {
        "name": v2.HEADER_LENGTH,
        "in": "header",
        "description": "Bytes of the JSON that binary tensor data follows; without it, all is JSON",
        "schema": {"type": "integer", "minimum": 0},
    }
    content = {
        v2.JSON: {"schema": {"$ref": REF + "InferRequest"}, "examples": _v2_examples(served)},
        v2.OCTETS: {
            "schema": {
                "description": "The JSON, its inputs with `parameters.binary_data_size` in place "
                "of `data`; then their bytes, in the inputs' order. BYTES elements each have their "
                "length before them, 4 bytes, little-endian.",
            }
        },
    }
    answer = {
        "description": "The answers, in the order of the images",
        "headers": _answer_headers(
            {
                v2.HEADER_LENGTH: {
                    "description": "Only if an output is binary: bytes of the JSON before it",
                    "schema": {"type": "integer"},
                }
            }
        ),
        "content": {
            v2.JSON: {"schema": {"$ref": REF + "InferResponse"}},
            v2.OCTETS: {"schema": {}},
        },
    }
    paths = {}
    for path, parameters in (
        ("/v2/models/{name}/infer", [_name(served)]),
        ("/v2/models/{name}/versions/{version}/infer", [_name(served), _version(served)]),
    ):
        paths[path] = _post("V2 inference", [*parameters, length], content, answer)
    return paths


def _v1_paths(served: Served) -> Json:
    answer = {
        "description": "The predictions, in the order of the images",
        "headers": _answer_headers(),
        "content": {v1.JSON: {"schema": {"$ref": REF + "V1Response"}}},
    }
    paths = {}
    for verb, summary, explain in (
        (v1.PREDICT, "V1 prediction", ["true", "false"]),
        (v1.EXPLAIN, "V1 prediction with class activation map and overlay", ["true"]),
    ):
        options: Json = {
            "explain": {"enum": explain},
            "explain_class": {"$ref": REF + "ExplainClass"},
        }
        form = {
            "type": "object",
            "description": "Files of any field name, and these texts",
            "properties": options,
            "additionalProperties": {"type": "string", "contentMediaType": v2.OCTETS},
        }
        content: Json = {
            v1.JSON: {"schema": {"$ref": REF + "V1Request"}, "examples": _v1_examples()},
            **{kind: {"schema": {}} for kind in v1.IMAGES},
            v1.FORM: {"schema": form},
        }
        query = [
            {"name": name, "in": "query", "schema": schema} for name, schema in options.items()
        ]
        paths[f"/v1/models/{{name}}:{verb}"] = _post(
            summary, [_name(served), *query], content, answer
        )
    return paths


def _v2_examples(served: Served) -> Json:
    image: Json = {
        "name": IMAGE, "datatype": INPUTS[IMAGE], "shape": [1],
        "parameters": {"content_type": BASE64}, "data": [_picture()],
    }  # fmt: skip
    pixels: Json = {
        "name": PIXELS, "datatype": INPUTS[PIXELS], "shape": [1, 8, 8, 3], "data": [128] * 192,
    }  # fmt: skip
    explained: Json = {
        "id": "42",
        "inputs": [image],
        "outputs": [{"name": "label"}, {"name": "cam"}, {"name": "overlay"}],
        "parameters": {"explain_class": served.contract.class_keys[0]},
    }
    return {
        "image": {"summary": "A PNG as base64", "value": {"inputs": [image]}},
        "explained": {"summary": "Map and overlay of a chosen class", "value": explained},
        "both": {"summary": "A file and raw pixels", "value": {"inputs": [image, pixels]}},
    }


def _v1_examples() -> Json:
    url = f"data:image/png;base64,{_picture()}"
    return {
        "image": {"summary": "A PNG as base64", "value": {"instances": [{"b64": _picture()}]}},
        "data_url": {"summary": "A data URL", "value": {"instances": [url]}},
        "explained": {
            "summary": "Explained",
            "value": {"instances": [{"b64": _picture()}], "explain": True, "explain_class": 0},
        },
    }


@cache
def _picture() -> str:
    grey = np.full((16, 16, 3), 128, np.uint8)
    return base64.b64encode(encode_png(grey)).decode()


def _failures(kinds: Iterable[type[errors.RequestError]]) -> Json:
    return {kind.__name__: _failure(kind) for kind in kinds}


def _failure(kind: type[errors.RequestError]) -> Json:
    headers = {}
    if kind is errors.QueueFullError:
        headers["retry-after"] = {"description": "Seconds", "schema": {"type": "integer"}}
    elif kind is errors.UnauthorisedError:
        headers["www-authenticate"] = {"schema": {"const": "Bearer"}}
    return {
        "description": (kind.__doc__ or "").splitlines()[0],
        "headers": headers,
        "content": {v2.JSON: {"schema": {"$ref": REF + "Error"}}},
    }


def _refusals(kinds: Iterable[type[errors.RequestError]]) -> Json:
    return {
        str(int(kind.status)): {"$ref": f"#/components/responses/{kind.__name__}"} for kind in kinds
    }


def _get(
    tag: str,
    summary: str,
    schema: Json,
    parameters: Sequence[Json] = (),
    failures: Sequence[type[errors.RequestError]] = (),
    media: str = v2.JSON,
) -> Json:
    answer = {"description": summary, "content": {media: {"schema": schema}}}
    responses = {str(int(HTTPStatus.OK)): answer, **_refusals(failures)}
    return {
        "get": {
            "tags": [tag],
            "summary": summary,
            "security": SECURITY if errors.UnauthorisedError in failures else [],
            "parameters": list(parameters),
            "responses": responses,
        }
    }


def _post(summary: str, parameters: Sequence[Json], content: Json, answer: Json) -> Json:
    return {
        "post": {
            "tags": ["inference"],
            "summary": summary,
            "security": SECURITY,
            "parameters": [*parameters, *COMMON_PARAMETERS],
            "requestBody": {"required": True, "content": content},
            "responses": {str(int(HTTPStatus.OK)): answer, **_refusals(FAILURES)},
        }
    }


def _answer_headers(more: Mapping[str, Json] | None = None) -> Json:
    return {
        REQUEST_ID: {"description": "The request's, or a new one", "schema": {"type": "string"}},
        **(more or {}),
    }


def _name(served: Served) -> Json:
    return {"name": "name", "in": "path", "required": True, "schema": {"enum": [served.name]}}


def _version(served: Served) -> Json:
    return {"name": "version", "in": "path", "required": True, "schema": {"enum": [served.version]}}


def _model() -> Json:
    return {"$ref": REF + "Model"}
