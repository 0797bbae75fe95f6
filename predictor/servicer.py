"""The V2 protocol's gRPC service."""

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceServicer

from predictor.door import Visit
from predictor.errors import Failure, RequestError, UnknownRouteError, failure_of
from predictor.journal import REQUEST_ID, Journal
from predictor.lifecycle import SightlineModel
from predictor.protocol import grpc as protocol
from predictor.protocol.metadata import server_metadata
from predictor.protocol.v2 import InferRequest
from predictor.served import Served

_INLINE_BYTES = 64 * 1024

T = TypeVar("T")


class SightlineServicer(GRPCInferenceServiceServicer):
    """Answers from the message itself; never loads, and never unloads for a stranger.

    Args:
        model: the one model that is served.
        journal: counts and logs the requests.
    """

    def __init__(self, model: SightlineModel, journal: Journal) -> None:
        self._model = model
        self._journal = journal

    async def ServerLive(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        return pb.ServerReadyResponse(ready=self._model.ready)

    async def ServerMetadata(self, _request: Any, context: Any) -> Any:  # noqa: N802
        await _checked(context, lambda: self._model.door.authorise(_metadata(context)))
        return pb.ServerMetadataResponse(**server_metadata())

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        await _checked(context, lambda: self._model.check_name(request.name, request.version))
        return pb.ModelReadyResponse(ready=self._model.ready)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        await _checked(context, lambda: self._model.door.authorise(_metadata(context)))
        served = await _checked(context, lambda: self._model.require(request.name, request.version))
        return protocol.build_metadata(served.metadata)

    async def RepositoryModelLoad(self, _request: Any, context: Any) -> Any:  # noqa: N802
        await _checked(context, _no_repository)

    async def RepositoryModelUnload(self, _request: Any, context: Any) -> Any:  # noqa: N802
        await _checked(context, _no_repository)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        metadata = _metadata(context)
        with (
            self._journal.open("grpc", "infer", metadata.get(REQUEST_ID), metadata) as entry,
            self._model.door.enter(metadata) as visit,
        ):
            visit.within(context.time_remaining())
            # The message is here already; it counts like those that come over HTTP.
            visit.hold(request.ByteSize())
            served = self._model.require(request.model_name, request.model_version)
            served.pipeline.require_room()
            parsed = await _parse(request, served, visit)
            visit.within(parsed.timeout_s)
            entry.answers = await served.pipeline.answer(parsed.query, visit.deadline)
            response = protocol.build(parsed, entry.answers, served.name, served.version)
        trailing = ((REQUEST_ID, entry.request_id),)
        if entry.failure is not None:
            await _abort(context, entry.failure, trailing)
        context.set_trailing_metadata(trailing)
        return response


def _metadata(context: Any) -> dict[str, str]:
    return dict(context.invocation_metadata() or ())


async def _parse(request: Any, served: Served, visit: Visit) -> InferRequest:
    if request.ByteSize() < _INLINE_BYTES:
        return protocol.parse(request, served.contract)
    return await served.pipeline.parse(
        lambda: protocol.parse(request, served.contract), visit.deadline
    )


async def _checked(context: Any, work: Callable[[], T]) -> T:
    try:
        return work()
    except RequestError as error:
        await _abort(context, failure_of(error, ""), ())


async def _abort(context: Any, failure: Failure, trailing: tuple[tuple[str, str], ...]) -> NoReturn:
    code = getattr(grpc.StatusCode, failure.code)
    await context.abort(code, failure.message, (*trailing, *failure.headers.items()))
    raise AssertionError("abort() has raised already")


def _no_repository() -> None:
    raise UnknownRouteError("models cannot be loaded or unloaded through this server")
