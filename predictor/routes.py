"""Every address that is served over HTTP, but for KServe's `/metrics`."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

from predictor import openapi
from predictor.body import Bounds, read_body, stream_body, unless_gone
from predictor.door import Visit
from predictor.errors import (
    ContentTypeError,
    Failure,
    NotReadyError,
    RequestError,
    UnknownRouteError,
    failure_of,
)
from predictor.journal import REQUEST_ID, Entry, Journal, request_id_of
from predictor.lifecycle import SightlineModel
from predictor.page import Page
from predictor.protocol import v1, v2
from predictor.protocol.form import read_form
from predictor.protocol.metadata import server_metadata
from predictor.query import Query
from predictor.served import Served

# Parsing less than this takes less time than handing it to a thread is worth.
_INLINE_BYTES = 64 * 1024

T = TypeVar("T")

Work = Callable[[Request, Entry, Visit], Awaitable[Response]]
Handler = Callable[[Request], Awaitable[Response]]


class Routes:
    """Handlers of the V1 and V2 protocols.

    Args:
        model: the one model that is served.
        journal: counts and logs the requests.
    """

    def __init__(self, model: SightlineModel, journal: Journal) -> None:
        self._model = model
        self._journal = journal

    def register(self, router: Router) -> None:
        """Add the routes; what the router holds already wins over them."""
        one, version = "/v2/models/{name}", "/versions/{version}"
        guarded, plain = self._guarded, self._plain
        get: list[tuple[str, Callable[[Request], object]]] = [
            ("/v2", guarded(lambda _: server_metadata())),
            ("/v2/health/live", lambda _: {"live": True}),
            ("/v2/health/ready", self._server_ready),
            ("/v2/models", guarded(lambda _: {"models": self._names()})),
            (one, guarded(self._metadata)),
            (one + version, guarded(self._metadata)),
            (f"{one}/ready", self._model_ready),
            (f"{one}{version}/ready", self._model_ready),
            ("/v1/models", guarded(lambda _: {"models": self._names()})),
            ("/v1/models/{name}", self._model_ready),
            ("/openapi.json", guarded(self._openapi)),
        ]
        for path, answer in get:
            router.add_route(path, plain(answer), methods=["GET"])
        for path in (f"{one}/infer", f"{one}{version}/infer"):
            router.add_route(path, self._counted("v2", "infer", self._infer), methods=["POST"])
        for verb in (v1.PREDICT, v1.EXPLAIN):
            handler = self._counted("v1", verb, self._v1(verb))
            router.add_route(f"/v1/models/{{name}}:{verb}", handler, methods=["POST"])
        if self._model.settings.page:
            Page().register(router)
        # KServe's SDK lets anybody unload the model here.
        router.add_route("/v2/repository/{rest:path}", plain(_no_repository), methods=["POST"])

    def _counted(self, protocol: str, verb: str, work: Work) -> Handler:
        async def handle(request: Request) -> Response:
            headers = request.headers
            with (
                self._journal.open(protocol, verb, headers.get(REQUEST_ID), headers) as entry,
                self._model.door.enter(headers) as visit,
            ):
                response = await work(request, entry, visit)
            if entry.failure is not None:
                response = _failed(entry.failure)
            response.headers[REQUEST_ID] = entry.request_id
            return self._last(response)

        return handle

    async def _infer(self, request: Request, entry: Entry, visit: Visit) -> Response:
        served = self._named(request)
        _check_v2_type(request)
        served.pipeline.require_room()
        body = await read_body(request, **self._bounds(visit))
        length = request.headers.get(v2.HEADER_LENGTH)

        async def work() -> Response:
            query = await _parse(
                served, len(body), lambda: v2.parse(body, length, served.contract), visit
            )
            visit.within(query.timeout_s)
            entry.answers = await served.pipeline.answer(query.query, visit.deadline)
            response = v2.build(query, entry.answers, served.name, served.version)
            return Response(response.body, headers=response.headers)

        return await unless_gone(request, work())

    def _v1(self, verb: str) -> Work:
        async def handle(request: Request, entry: Entry, visit: Visit) -> Response:
            served = self._named(request)
            served.pipeline.require_room()
            size, parse = await self._v1_read(request, verb, served, visit)

            async def work() -> Response:
                query = await _parse(served, size, parse, visit)
                entry.answers = await served.pipeline.answer(query, visit.deadline)
                keys = served.contract.class_keys
                body = v1.build(entry.answers, keys, served.name, served.version)
                return Response(body, media_type=v1.JSON)

            return await unless_gone(request, work())

        return handle

    async def _v1_read(
        self, request: Request, verb: str, served: Served, visit: Visit
    ) -> tuple[int, Callable[[], Query]]:
        """The bytes that are left to parse, and how."""
        kind = v1.media_type(request.headers.get("content-type"))
        options = {
            key: request.query_params[key] for key in v1.OPTIONS if key in request.query_params
        }
        bounds, contract = self._bounds(visit), served.contract
        if kind == v1.FORM:
            chunks = stream_body(request, **bounds)
            files, texts = await read_form(request.headers, chunks, contract.max_images)
            given = {**options, **texts}
            return 0, lambda: v1.make_query(files, verb, contract, given)
        body = await read_body(request, **bounds)
        if kind == v1.JSON:
            return len(body), lambda: v1.parse_json(body, verb, contract, options)
        return 0, lambda: v1.make_query([memoryview(body)], verb, contract, options)

    def _bounds(self, visit: Visit) -> Bounds:
        settings = self._model.settings
        return {
            "max_bytes": settings.max_body_bytes,
            "deadline": visit.deadline,
            "pause_s": settings.client_timeout_s,
            "hold": visit.hold,
        }

    def _guarded(self, answer: Callable[[Request], object]) -> Callable[[Request], object]:
        def guarded(request: Request) -> object:
            self._model.door.authorise(request.headers)
            return answer(request)

        return guarded

    def _plain(self, answer: Callable[[Request], object]) -> Handler:
        """A handler that is neither counted nor logged: probes come every few seconds."""

        async def handle(request: Request) -> Response:
            try:
                return self._last(_json(answer(request)))
            except RequestError as error:
                return self._last(_failed(failure_of(error, "")))

        return handle

    def _last(self, response: Response) -> Response:
        # A client that keeps its connection would find it closed when the server has gone.
        if self._model.draining:
            response.headers["connection"] = "close"
        return response

    def _named(self, request: Request) -> Served:
        return self._model.require(request.path_params["name"], request.path_params.get("version"))

    def _names(self) -> list[str]:
        return [self._model.name] if self._model.name else []

    def _server_ready(self, _: Request) -> object:
        self._require_ready()
        return {"ready": True}

    def _model_ready(self, request: Request) -> object:
        name = request.path_params["name"]
        self._model.check_name(name, request.path_params.get("version"))
        self._require_ready()
        return {"name": name, "ready": True}

    def _metadata(self, request: Request) -> object:
        return self._named(request).metadata

    def _openapi(self, _: Request) -> object:
        return openapi.document(self._model.require(self._model.name))

    def _require_ready(self) -> None:
        if not self._model.ready:
            raise NotReadyError(self._model.unready_reason())


async def http_error(_: Request, error: Exception) -> Response:
    """Errors of the router itself, in the form of all others."""
    if not isinstance(error, HTTPException):
        raise error
    return _json({"error": str(error.detail)}, error.status_code, dict(error.headers or {}))


async def internal_error(request: Request, error: Exception) -> Response:
    """What no handler of ours has met."""
    return _failed(failure_of(error, request_id_of(request.headers.get(REQUEST_ID))))


def _no_repository(_: Request) -> object:
    raise UnknownRouteError("models cannot be loaded or unloaded through this server")


async def _parse(served: Served, body_bytes: int, parse: Callable[[], T], visit: Visit) -> T:
    if body_bytes < _INLINE_BYTES:
        return parse()
    return await served.pipeline.parse(parse, visit.deadline)


def _check_v2_type(request: Request) -> None:
    found = request.headers.get("content-type", v2.JSON).partition(";")[0].strip().lower()
    if found not in (v2.JSON, v2.OCTETS):
        raise ContentTypeError(f"content-type is {found[:80]!r}; accepted: {v2.JSON}, {v2.OCTETS}")


def _failed(failure: Failure) -> Response:
    return _json({"error": failure.message}, failure.status, failure.headers)


def _json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type=v2.JSON)
