"""MLflow: an embedded sqlite store by default, a server by its address."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import SQLAlchemyError

from train.config import TrackingConfig
from train.errors import TrackingError
from train.tracking.base import Status

_LONGEST_PARAM = 6000


def tracking_uri(config: TrackingConfig) -> str:
    """The store: the setting, else $MLFLOW_TRACKING_URI, else `mlflow.db` here."""
    default = f"sqlite:///{Path('mlflow.db').resolve()}"
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
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with talking_to(uri):
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def talking_to(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into an error that names the store.

    Raises:
        TrackingError: instead of MLflow's own.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(f"MLflow at {uri} cannot be used: {error}") from error


class MlflowTracker:
    """One MLflow run. Only the client is used, so no global state is shared with the caller."""

    def __init__(self, config: TrackingConfig) -> None:
        self._config = config
        self._uri = tracking_uri(config)
        self.client = connect(config)
        self.run_id = ""

    def begin(
        self,
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        parent: str | None = None,
    ) -> str:
        rows = [Param(key, value[:_LONGEST_PARAM]) for key, value in params.items()]
        nested = {} if parent is None else {MLFLOW_PARENT_RUN_ID: parent}
        with talking_to(self._uri):
            run = self.client.create_run(self._experiment(), run_name=name, tags={**tags, **nested})
            self.run_id = run.info.run_id
            self.client.log_batch(self.run_id, params=rows)
        return self.run_id

    def resume(self, run_id: str) -> None:
        self.run_id = run_id
        with talking_to(self._uri):
            self.client.update_run(run_id, status="RUNNING")

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        now_ms = int(time.time() * 1000)
        rows = [Metric(key, value, now_ms, step) for key, value in metrics.items()]
        with talking_to(self._uri):
            self.client.log_batch(self.run_id, metrics=rows)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        with talking_to(self._uri):
            self.client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def log_files(self, path: Path, under: str | None = None) -> None:
        log = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        with talking_to(self._uri):
            log(self.run_id, str(path), under)

    def end(self, status: Status) -> None:
        if not self.run_id:
            return
        with talking_to(self._uri):
            self.client.set_terminated(self.run_id, status)

    def _experiment(self) -> str:
        name, uri = self._config.experiment, self._uri
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        # An embedded store keeps its artefacts beside its database; a server has its own place.
        location = None
        if uri.startswith("sqlite:///"):
            database = Path(uri.removeprefix("sqlite:///")).resolve()
            location = (database.parent / "mlartifacts").as_uri()
        return str(self.client.create_experiment(name, artifact_location=location))
