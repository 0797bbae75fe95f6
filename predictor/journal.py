"""Bookkeeping of requests: their id, their metrics and their one line in the log."""

import re
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType

from predictor.answer import Answers
from predictor.errors import ClientGoneError, EngineError, Failure, ItemError, failure_of
from predictor.logs import REQUESTS, where
from predictor.metrics import Metrics

REQUEST_ID = "x-request-id"

_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def request_id_of(given: str | None) -> str:
    """The client's id if it is short and of harmless characters, else a new one."""
    return given if given and _SANE_ID.fullmatch(given) else uuid.uuid4().hex


class Journal:
    """Opens an entry for every request.

    Args:
        metrics: where requests are counted.
        model: says name and version of the served model, empty while it is loading.
    """

    def __init__(self, metrics: Metrics, model: Callable[[], tuple[str, str]]) -> None:
        self.metrics = metrics
        self.model = model

    def open(self, protocol: str, verb: str, request_id: str | None) -> "Entry":
        return Entry(self, protocol, verb, request_id_of(request_id))


class Entry:
    """One request, from its headers to its status.

    A context manager: whatever leaves the block is counted and logged, once. An exception other
    than a cancellation is turned into `failure` and swallowed.
    """

    def __init__(self, journal: Journal, protocol: str, verb: str, request_id: str) -> None:
        self._journal = journal
        self.protocol = protocol
        self.verb = verb
        self.request_id = request_id
        self.answers: Answers | None = None
        self.failure: Failure | None = None

    def __enter__(self) -> "Entry":
        self._started = time.monotonic()
        self._journal.metrics.inflight.inc()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        cancelled = error is not None and not isinstance(error, Exception)
        if error is not None:
            shown = ClientGoneError("the request was cancelled") if cancelled else error
            self.failure = failure_of(shown, self.request_id)
        self._count(error)
        self._log(error)
        return error is not None and not cancelled

    @property
    def status(self) -> int:
        return HTTPStatus.OK if self.failure is None else self.failure.status

    def _count(self, error: BaseException | None) -> None:
        metrics = self._journal.metrics
        metrics.inflight.dec()
        metrics.requests.labels(self.protocol, self.verb, str(int(self.status))).inc()
        if self.failure is None:
            if self.answers is not None:
                total_s = time.monotonic() - self._started
                metrics.answered(self.answers.answers, self.answers.timings, total_s)
        elif isinstance(error, ItemError):
            metrics.image_errors.labels(self.failure.reason).inc()
        else:
            metrics.rejections.labels(self.failure.reason).inc()

    def _log(self, error: BaseException | None) -> None:
        name, version = self._journal.model()
        data: dict[str, object] = {
            "request_id": self.request_id,
            "protocol": self.protocol,
            "verb": self.verb,
            "status": int(self.status),
            "total_ms": round(1e3 * (time.monotonic() - self._started), 3),
            "model": name,
            "version": version,
        }
        if self.answers is not None:
            data["images"] = len(self.answers.answers)
            data.update(self.answers.timings.milliseconds())
        if self.failure is not None:
            data["reason"] = self.failure.reason
        if isinstance(error, ItemError):
            data["item"] = error.index
        if isinstance(error, EngineError):
            data["detail"] = str(error)[:500]
        if error is not None and self.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            data.update(where(error))
            REQUESTS.error("request", extra={"data": data})
        else:
            REQUESTS.info("request", extra={"data": data})
