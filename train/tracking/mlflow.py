"""MLflow: an embedded sqlite store by default, a server by its address."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from train.config import TrackingConfig
from train.errors import TrackingError
from train.tracking.base import Status
from train.tracking.journal import Begin, Metrics
from train.tracking.store import RefusedError, StoreAwayError

T = TypeVar("T")
# The tag by which a run is found whose id in MLflow nobody here has heard of.
RUN_TAG = "sightline.run"
_LONGEST_PARAM = 6000
_LONGEST_TAG = 8000
# What MLflow takes in one request.
_METRICS_AT_ONCE = 1000
_PARAMS_AT_ONCE = 100
_EMBEDDED = "sqlite:///"
# By default MLflow repeats a request for minutes: it would also repeat the creation of a run or the
# logging of a metric that did arrive, and its pauses draw from the generator that training uses.
# Here the journal repeats, and asks first.
_HTTP = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# An internal error is also what the client makes of a connection that fails.
_AWAY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "IO_ERROR")
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")
_KINDS: dict[str, type[TrackingError]] = {
    **dict.fromkeys(_AWAY, StoreAwayError),
    **dict.fromkeys(_REFUSED, RefusedError),
}
_REFUSED_STATUS = (400, 413, 415, 422)
_AWAY_STATUS = (408, 429)


def tracking_uri(config: TrackingConfig) -> str:
    """The store: the setting, else $MLFLOW_TRACKING_URI, else `mlflow.db` here."""
    default = f"{_EMBEDDED}{Path('mlflow.db').resolve()}"
    return config.uri or os.environ.get("MLFLOW_TRACKING_URI") or default


def connect(config: TrackingConfig) -> MlflowClient:
    """A client of the store.

    Raises:
        TrackingError: the store cannot be used; names its address.
    """
    uri = tracking_uri(config)
    # The first use of a new sqlite store logs every migration of its schema.
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name, value in _HTTP.items():
        os.environ.setdefault(name, value)
    with talking_to(uri):
        if uri.startswith(_EMBEDDED):
            Path(uri.removeprefix(_EMBEDDED)).parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def talking_to(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into an error that names the store.

    Raises:
        StoreAwayError: it does not answer, or not sensibly.
        RefusedError: it will not take what it was given.
        TrackingError: anything else.
    """
    try:
        yield
    except MlflowException as error:
        kind = _KINDS.get(error.error_code, TrackingError)
        raise kind(_message(kind, uri, error)) from error
    except (SQLAlchemyError, OSError) as error:
        kind = _kind(error)
        raise kind(_message(kind, uri, error)) from error


def _kind(error: SQLAlchemyError | OSError) -> type[TrackingError]:
    # `requests` raises OSErrors, with the server's answer where there was one.
    answer = getattr(error, "response", None)
    status = 0 if answer is None else int(answer.status_code)
    if status in _REFUSED_STATUS:
        return RefusedError
    known = isinstance(error, SQLAlchemyError) and not isinstance(error, OperationalError)
    if known or (400 <= status < 500 and status not in _AWAY_STATUS):
        return TrackingError
    return StoreAwayError


def _message(kind: type[TrackingError], uri: str, error: Exception) -> str:
    words = "cannot be reached" if kind is StoreAwayError else "cannot be used"
    return _without_password(f"MLflow at {uri} {words}: {error}")


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)


class MlflowStore:
    """Only the client is used, so no global state is shared with the caller."""

    def __init__(self, config: TrackingConfig) -> None:
        self._config = config
        self._uri = tracking_uri(config)
        self.address = _without_password(f"MLflow at {self._uri}")

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self._config)

    @cached_property
    def _experiment(self) -> str:
        name, uri = self._config.experiment, self._uri
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        # An embedded store keeps its artefacts beside its database; a server has its own place.
        location = None
        if uri.startswith(_EMBEDDED):
            database = Path(uri.removeprefix(_EMBEDDED)).resolve()
            location = (database.parent / "mlartifacts").as_uri()
        try:
            return str(self._client.create_experiment(name, artifact_location=location))
        except MlflowException:
            # Another process may have been first.
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def check(self) -> None:
        try:
            _ = self._client
        except StoreAwayError as error:
            # What is on this machine will not come back by itself, unless another process is
            # writing just now.
            if self._uri.startswith(_EMBEDDED) and "database is locked" not in str(error):
                raise TrackingError(str(error)) from error
            raise

    def begin(self, run_id: str, begin: Begin, *, again: bool) -> str:
        with talking_to(self._uri):
            tags = {**begin.tags, RUN_TAG: run_id}
            if begin.parent is not None:
                parent = self._find(begin.parent)
                if parent is None:
                    raise StoreAwayError(
                        f"{self.address} does not have the outer run {begin.parent} yet"
                    )
                tags[MLFLOW_PARENT_RUN_ID] = parent
            store_id = self._find(run_id) if again else None
            if store_id is None:
                tags = {key: value[:_LONGEST_TAG] for key, value in tags.items()}
                run = self._client.create_run(self._experiment, begin.time_ms, tags, begin.name)
                store_id = str(run.info.run_id)
            rows = [Param(key, value[:_LONGEST_PARAM]) for key, value in begin.params.items()]
            for some in _portions(rows, _PARAMS_AT_ONCE):
                self._client.log_batch(store_id, params=some)
        return store_id

    def find(self, run_id: str) -> str | None:
        with talking_to(self._uri):
            return self._find(run_id)

    def resume(self, store_id: str) -> None:
        with talking_to(self._uri):
            self._client.update_run(store_id, status="RUNNING")

    def log(self, store_id: str, metrics: Sequence[Metrics], *, again: bool) -> None:
        rows = [
            Metric(key, value, each.time_ms, each.step)
            for each in metrics
            for key, value in each.values.items()
        ]
        with talking_to(self._uri):
            if again:
                there = {
                    _identity(metric)
                    for key in {row.key for row in rows}
                    for metric in self._client.get_metric_history(store_id, key)
                }
                rows = [row for row in rows if _identity(row) not in there]
            for some in _portions(rows, _METRICS_AT_ONCE):
                self._client.log_batch(store_id, metrics=some)

    def set_tags(self, store_id: str, tags: Mapping[str, str]) -> None:
        rows = [RunTag(key, value[:_LONGEST_TAG]) for key, value in tags.items()]
        with talking_to(self._uri):
            for some in _portions(rows, _PARAMS_AT_ONCE):
                self._client.log_batch(store_id, tags=some)

    def log_file(self, store_id: str, file: Path, path: str) -> None:
        folder = PurePosixPath(path).parent
        under = None if folder == PurePosixPath() else str(folder)
        with talking_to(self._uri):
            self._client.log_artifact(store_id, str(file), under)

    def end(self, store_id: str, status: Status, time_ms: int) -> None:
        with talking_to(self._uri):
            self._client.set_terminated(store_id, status, time_ms)

    def _find(self, run_id: str) -> str | None:
        """Id in MLflow of one of our runs."""
        wanted = f"tags.`{RUN_TAG}` = '{run_id}'"
        found = self._client.search_runs([self._experiment], wanted, max_results=1)
        return str(found[0].info.run_id) if found else None


def _portions(rows: list[T], size: int) -> Iterator[list[T]]:
    return (rows[first : first + size] for first in range(0, len(rows), size))


def _identity(metric: Metric) -> tuple[str, int, int, str]:
    # Of the number's text: one that is no number is not equal to itself.
    return metric.key, metric.step, metric.timestamp, repr(float(metric.value))
