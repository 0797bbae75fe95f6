import grpc
import pytest

from model.errors import (
    CorruptImageError,
    EmptyImageError,
    ImageTooLargeError,
    ImageTooSmallError,
    UnsupportedImageError,
)
from predictor import errors
from predictor.errors import Failure, ItemError, RequestError, failure_of

CASES: list[tuple[RequestError, int, str, str]] = [
    (errors.MalformedRequestError("m"), 400, "INVALID_ARGUMENT", "malformed"),
    (errors.UnknownModelError("m"), 404, "NOT_FOUND", "unknown_model"),
    (errors.UnknownRouteError("m"), 404, "UNIMPLEMENTED", "unknown_route"),
    (errors.TooLargeError("m"), 413, "INVALID_ARGUMENT", "too_large"),
    (errors.UnauthorisedError("m"), 401, "UNAUTHENTICATED", "unauthorised"),
    (errors.SlowRequestError("m"), 408, "DEADLINE_EXCEEDED", "slow"),
    (errors.ContentTypeError("m"), 415, "INVALID_ARGUMENT", "content_type"),
    (errors.QueueFullError("m"), 429, "RESOURCE_EXHAUSTED", "queue_full"),
    (errors.TooManyRequestsError("m"), 429, "RESOURCE_EXHAUSTED", "too_many_requests"),
    (errors.UploadsFullError("m"), 429, "RESOURCE_EXHAUSTED", "uploads_full"),
    (errors.ClientGoneError("m"), 499, "CANCELLED", "client_gone"),
    (errors.NotReadyError("m"), 503, "UNAVAILABLE", "not_ready"),
    (errors.DeadlineError("m"), 504, "DEADLINE_EXCEEDED", "deadline"),
]


@pytest.mark.parametrize(("error", "status", "code", "reason"), CASES)
def test_every_error_has_a_status_a_code_and_a_reason(
    error: RequestError, status: int, code: str, reason: str
) -> None:
    failure = failure_of(error, "id")
    assert (failure.status, failure.code, failure.reason) == (status, code, reason)
    assert failure.message == "m"
    assert hasattr(grpc.StatusCode, code)


def test_every_kind_of_request_error_is_covered() -> None:
    covered = {type(error) for error, *_ in CASES} | {ItemError, errors.EngineError}
    kinds = {*RequestError.__subclasses__(), *errors.QueueFullError.__subclasses__()}
    assert kinds == covered


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        (EmptyImageError("c"), 400),
        (CorruptImageError("c"), 400),
        (ImageTooSmallError("c"), 400),
        (ImageTooLargeError("c"), 413),
        (UnsupportedImageError("c"), 415),
    ],
)
def test_an_unusable_image_is_named_by_its_place(cause: CorruptImageError, status: int) -> None:
    failure = failure_of(ItemError(3, cause), "id")
    assert (failure.status, failure.message, failure.reason) == (status, "image 3: c", cause.reason)


@pytest.mark.parametrize(("wait_s", "header"), [(0.0, "1"), (0.2, "1"), (1.2, "2"), (30.0, "30")])
def test_a_full_queue_says_when_to_come_again(wait_s: float, header: str) -> None:
    assert failure_of(errors.QueueFullError("m", wait_s), "id").headers == {"retry-after": header}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("patient 4711"), "internal"),
        (errors.EngineError("node Conv_3 of 4711"), "engine"),
    ],
)
def test_the_unexpected_reveals_nothing_but_the_request_id(error: Exception, reason: str) -> None:
    failure = failure_of(error, "abc")
    assert failure == Failure(500, "INTERNAL", reason, failure.message)
    assert "abc" in failure.message
    assert "4711" not in failure.message
