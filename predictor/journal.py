"""Bookkeeping of requests: their id, their metrics and their one line in the log."""

import re
import time
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import TracebackType

from predictor.answer import Answers
from predictor.errors import ClientGoneError, EngineError, Failure, ItemError, failure_of
from predictor.logs import REQUESTS, where
from predictor.metrics import Metrics
from predictor.records import Records
from predictor.tracing import Tracing

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
        records: the request log, if there is one.
        tracing: where requests are traced, if they are.
    """

    def __init__(
        self,
        metrics: Metrics,
        model: Callable[[], tuple[str, str]],
        records: Records | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.metrics = metrics
        self.model = model
        self.records = records
        self.tracing = tracing

    def open(
        self,
        protocol: str,
        verb: str,
        request_id: str | None,
        headers: Mapping[str, str] | None = None,
    ) -> "Entry":
        """An entry for a request; its trace goes on from the one in the headers."""
        return Entry(self, protocol, verb, request_id_of(request_id), headers or {})


class Entry:
    """One request, from its headers to its status.

    A context manager: whatever leaves the block is counted and logged, once. An exception other
    than a cancellation is turned into `failure` and swallowed.
    """

    def __init__(
        self,
        journal: Journal,
        protocol: str,
        verb: str,
        request_id: str,
        headers: Mapping[str, str],
    ) -> None:
        self._journal = journal
        self.protocol = protocol
        self.verb = verb
        self.request_id = request_id
        self._headers = headers
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
        self._log(error, self._trace())
        return error is not None and not cancelled

    @property
    def status(self) -> int:
        return HTTPStatus.OK if self.failure is None else self.failure.status

    def _count(self, error: BaseException | None) -> None:
        metrics = self._journal.metrics
        metrics.inflight.dec()
        name, version = self._journal.model()
        metrics.requests.labels(self.protocol, self.verb, str(int(self.status)), version).inc()
        if self.failure is None:
            if self.answers is not None:
                if self._journal.records is not None:
                    request = {"request_id": self.request_id, "model": name, "version": version}
                    self._journal.records.put(request, self.answers.answers)
                total_s = time.monotonic() - self._started
                metrics.answered(self.answers.answers, self.answers.timings, total_s)
        elif isinstance(error, ItemError):
            metrics.image_errors.labels(self.failure.reason).inc()
        else:
            metrics.rejections.labels(self.failure.reason).inc()

    def _trace(self) -> str | None:
        if self._journal.tracing is None:
            return None
        name, version = self._journal.model()
        attributes: dict[str, str | int] = {
            "http.response.status_code": int(self.status),
            "sightline.request_id": self.request_id,
            "sightline.model.name": name,
            "sightline.model.version": version,
        }
        if self.answers is not None:
            attributes["sightline.images"] = len(self.answers.answers)
        if self.failure is not None:
            attributes["error.type"] = self.failure.reason
        timings = None if self.answers is None else self.answers.timings
        label = f"{self.protocol} {self.verb}"
        return self._journal.tracing.record(
            label, self._headers, self._started, attributes, timings
        )

    def _log(self, error: BaseException | None, trace_id: str | None) -> None:
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
        if trace_id is not None:
            data["trace_id"] = trace_id
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
