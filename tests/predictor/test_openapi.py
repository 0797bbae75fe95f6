"""The document describes the server: its examples work, and what is made from it is answered."""

from http import HTTPStatus
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import CheckFunction, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.applications import Starlette

from model.bundle import Bundle
from predictor import deadline, errors, openapi
from predictor.journal import Journal
from predictor.lifecycle import SightlineModel
from predictor.metrics import Metrics
from predictor.protocol import v1
from predictor.routes import Routes
from predictor.settings import Settings
from tests.model.dicoms import dicom
from tests.predictor.bundles import jpeg, png
from tests.predictor.servers import RunningServer

Pictures = npt.NDArray[np.uint8]
Json = dict[str, Any]
Operation = schemathesis.APIOperation[Any, Any, Any, Any]


def no_server_error(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: Any
) -> bool | None:
    """A status of 500 and above, but for a 504 to a request that named a deadline.

    A microsecond is a deadline that the document allows, and whether it is met is luck.
    """
    sent = response.request
    body = sent.body if isinstance(sent.body, bytes) else b""
    named = deadline.PARAMETER.encode() in body or any(n in sent.headers for n in deadline.UNITS)
    if named and response.status_code == HTTPStatus.GATEWAY_TIMEOUT:
        return None
    return not_a_server_error(context, response, case)


CHECKS: list[CheckFunction] = [
    allow_header_conformance,
    no_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="session")
def document(server: RunningServer) -> Json:
    found: Json = httpx.get(f"{server.url}/openapi.json").raise_for_status().json()
    return found


def operations(document: Json) -> list[tuple[str, str, Json]]:
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def filled(path: str, operation: Json) -> str:
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["schema"]["enum"][0])
    return path


def test_the_document_is_openapi_3_1_and_names_the_bundle_s_classes(
    document: Json, bundle: Bundle
) -> None:
    OpenAPIV31SpecValidator(document).validate()
    explained = document["components"]["schemas"]["ExplainClass"]
    assert explained["anyOf"][0]["enum"] == bundle.manifest.class_keys


def test_every_get_is_answered(server: RunningServer, document: Json) -> None:
    gets = [each for each in operations(document) if each[0] == "get"]
    assert len(gets) == 13
    for _, path, operation in gets:
        response = httpx.get(server.url + filled(path, operation))
        assert response.status_code == HTTPStatus.OK, path
        (media,) = operation["responses"]["200"]["content"]
        assert response.headers["content-type"].startswith(media)


def test_every_example_is_answered_by_every_route_that_shows_it(
    server: RunningServer, document: Json
) -> None:
    sent = 0
    for _, path, operation in operations(document):
        if "requestBody" not in operation:
            continue
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        for name, example in examples.items():
            response = httpx.post(server.url + filled(path, operation), json=example["value"])
            assert response.status_code == HTTPStatus.OK, (path, name, response.text)
            sent += 1
    assert sent == 12


def test_every_media_type_in_it_is_taken(
    server: RunningServer, document: Json, pictures: Pictures
) -> None:
    bodies: dict[str, Json] = {
        "image/jpeg": {"content": jpeg(pictures[0])},
        "image/png": {"content": png(pictures[0])},
        "application/dicom": {"content": dicom(pictures[0])},
        "multipart/form-data": {"files": {"f": png(pictures[0])}, "data": {"explain_class": "0"}},
    }
    for verb in ("predict", "explain"):
        path = f"/v1/models/{{name}}:{verb}"
        operation = document["paths"][path]["post"]
        media = set(operation["requestBody"]["content"])
        assert media == {"application/json", *bodies}
        for kind, body in bodies.items():
            headers = {} if "files" in body else {"content-type": kind}
            url = server.url + filled(path, operation)
            response = httpx.post(url, headers=headers, **body)
            assert response.status_code == HTTPStatus.OK, (verb, kind, response.text)
            assert ("cam" in response.json()["predictions"][0]) == (verb == "explain")


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_every_option_of_v1_is_in_it_for_the_address_and_for_the_form(
    server: RunningServer, document: Json, pictures: Pictures, verb: str
) -> None:
    path = f"/v1/models/{{name}}:{verb}"
    operation = document["paths"][path]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    query = {
        each["name"]: each["schema"] for each in operation["parameters"] if each["in"] == "query"
    }
    assert tuple(form) == tuple(query) == v1.OPTIONS
    assert form == query
    for flag in ("true", "false"):
        url, part = server.url + filled(path, operation), {"f": png(pictures[0])}
        accepted = flag in form["explain"]["enum"]
        in_form = httpx.post(url, files=part, data={"explain": flag})
        in_address = httpx.post(url, files=part, params={"explain": flag})
        for response in (in_form, in_address):
            assert (response.status_code == HTTPStatus.OK) == accepted, response.text


def test_every_status_that_a_request_may_be_refused_with_is_in_it(document: Json) -> None:
    def below(kind: type[errors.RequestError]) -> list[type[errors.RequestError]]:
        return [each for sub in kind.__subclasses__() for each in (sub, *below(sub))]

    # Nobody is left to be told, or it is no inference request.
    silent = {errors.ClientGoneError, errors.UnknownRouteError}
    statuses = {str(int(kind.status)) for kind in below(errors.RequestError) if kind not in silent}
    for _, path, operation in operations(document):
        if "requestBody" in operation:
            assert set(operation["responses"]) == {"200", *statuses}, path
    assert {kind.status for kind in openapi.FAILURES} == {int(status) for status in statuses}


async def test_there_is_no_document_before_there_is_a_model(
    bundle: Bundle, metrics: Metrics
) -> None:
    model = SightlineModel(Settings(bundle=str(bundle.path)), metrics)
    app = Starlette()
    Routes(model, Journal(metrics, model.identity)).register(app.router)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        response = await client.get("/openapi.json")
    assert response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert response.json() == {"error": "the model is loading"}


def test_there_is_no_page_that_loads_scripts_from_elsewhere(server: RunningServer) -> None:
    for path in ("/docs", "/redoc"):
        assert httpx.get(server.url + path).status_code == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_requests_made_from_the_document_never_fail_and_are_answered_as_it_says(
    server: RunningServer, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    found: list[Operation] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    # All but the document itself, which schemathesis leaves out.
    assert len(found) == 16
    statuses: set[int] = set()
    for operation in found:
        examples = 15 if operation.method == "post" else 1
        statuses |= _fuzz(operation, mode, examples)
    answered = {200} if mode == GenerationMode.POSITIVE else set()
    assert {400, *answered} <= statuses


def _fuzz(operation: Operation, mode: GenerationMode, examples: int) -> set[int]:
    statuses: set[int] = set()
    if mode == GenerationMode.NEGATIVE and not list(operation.iter_parameters()):
        return statuses

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answered(case: Any) -> None:
        statuses.add(case.call_and_validate(checks=CHECKS, timeout=30.0).status_code)

    answered()
    return statuses
