"""What can go wrong with a request or at start, and what the client is told.

One table serves every protocol: an exception has an HTTP status and the gRPC code that is its
counterpart, so a dashboard counts failures of both alike.
"""

import math
from dataclasses import dataclass, field
from http import HTTPStatus

from model.errors import (
    ImageError,
    ImageTooLargeError,
    SightlineError,
    UnsupportedImageError,
)

CLIENT_CLOSED_REQUEST = 499


class StartError(SightlineError):
    """The server cannot start: a setting, the bundle's address or an engine is wrong."""


class SettingError(StartError):
    """A setting cannot be used, which is known before anything is loaded; names it."""


class RequestError(SightlineError):
    """A request that is not answered. `reason` is a short slug, safe as a metric label."""

    status: int = HTTPStatus.BAD_REQUEST
    code = "INVALID_ARGUMENT"
    reason = "malformed"


class MalformedRequestError(RequestError):
    """The request is not what the protocol asks for; names the field and what is accepted."""


class UnknownModelError(RequestError):
    """Another model or version is served here."""

    status = HTTPStatus.NOT_FOUND
    code = "NOT_FOUND"
    reason = "unknown_model"


class UnknownRouteError(RequestError):
    """Nothing is served at this address."""

    status = HTTPStatus.NOT_FOUND
    code = "UNIMPLEMENTED"
    reason = "unknown_route"


class TooLargeError(RequestError):
    """More bytes or images than a request may have."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    reason = "too_large"


class ContentTypeError(RequestError):
    """A content type or encoding that is not read here; lists those that are."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    reason = "content_type"


class QueueFullError(RequestError):
    """More images are waiting than may wait."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "RESOURCE_EXHAUSTED"
    reason = "queue_full"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyRequestsError(QueueFullError):
    """More requests are open than may be."""

    reason = "too_many_requests"


class UploadsFullError(QueueFullError):
    """The bodies of all requests together have more bytes than may be held."""

    reason = "uploads_full"


class UnauthorisedError(RequestError):
    """The token is missing or wrong."""

    status = HTTPStatus.UNAUTHORIZED
    code = "UNAUTHENTICATED"
    reason = "unauthorised"


class SlowRequestError(RequestError):
    """The client stopped sending in the middle of its request."""

    status = HTTPStatus.REQUEST_TIMEOUT
    code = "DEADLINE_EXCEEDED"
    reason = "slow"


class NotReadyError(RequestError):
    """The model is still loading, or the server is going away."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "UNAVAILABLE"
    reason = "not_ready"


class DeadlineError(RequestError):
    """The answer would come after the request's deadline."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    code = "DEADLINE_EXCEEDED"
    reason = "deadline"


class ClientGoneError(RequestError):
    """The client hung up; nobody reads the answer."""

    status = CLIENT_CLOSED_REQUEST
    code = "CANCELLED"
    reason = "client_gone"


class EngineError(RequestError):
    """The engine failed on a batch. Its message names nodes and shapes of the graph, no pixels."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "INTERNAL"
    reason = "engine"


class ItemError(RequestError):
    """One image of a request is unusable; the message says which and why."""

    def __init__(self, index: int, cause: ImageError) -> None:
        super().__init__(f"image {index}: {cause}")
        self.index = index
        self.reason = cause.reason
        if isinstance(cause, ImageTooLargeError):
            self.status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        elif isinstance(cause, UnsupportedImageError):
            self.status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


@dataclass(frozen=True, slots=True)
class Failure:
    """What a client is told.

    Attributes:
        status: HTTP status.
        code: name of the gRPC status code.
        reason: slug for metrics and logs.
        message: one sentence for the client; never logged, for it may quote the request.
        headers: extra response headers.
    """

    status: int
    code: str
    reason: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)


def failure_of(error: BaseException, request_id: str) -> Failure:
    """Map an exception to what the client is told; an unexpected one reveals nothing."""
    if isinstance(error, EngineError) or not isinstance(error, RequestError):
        message = f"internal error; its log entries have request id {request_id}"
        reason = error.reason if isinstance(error, EngineError) else "internal"
        return Failure(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL", reason, message)
    headers = {}
    if isinstance(error, QueueFullError):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    elif isinstance(error, UnauthorisedError):
        headers["www-authenticate"] = "Bearer"
    return Failure(int(error.status), error.code, error.reason, str(error), headers)
