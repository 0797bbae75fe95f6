"""The trackers as they are compared, each behind the interface that training uses."""

import io
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from mlflow import MlflowClient

from tests.train.mlflow_servers import Server
from tests.train.seen import Seen, in_mlflow, in_wandb
from train.config import TrackingConfig
from train.console import Console
from train.tracking import Status, Tracker, make_tracker
from train.tracking.journal import Begin, Metrics
from train.tracking.mlflow import MlflowStore, connect
from train.tracking.replay import replay

_NOWHERE = "http://127.0.0.1:9"


class Contestant:
    """A tracker that records runs in a folder of its own.

    Attributes:
        name: in the table.
        config: what a user would set.
        home: everything that it writes on its own account.
        places: folders whose growth is what a run takes on disk.
    """

    def __init__(self, name: str, home: Path, tracker: str, uri: str | None = None) -> None:
        self.name, self.home = name, home
        self.config = TrackingConfig(tracker=tracker, uri=uri)
        self.places = [home]
        home.mkdir(parents=True, exist_ok=True)

    def tracker(self) -> Tracker:
        return make_tracker(self.config, self.home, Console(io.StringIO()))

    def look(self, run_id: str) -> Seen | None:
        """What the store has of a run; None for a tracker without one."""
        scratch = self.home.parent / "read"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        if self.config.tracker == "none":
            return None
        if self.config.tracker == "wandb":
            return in_wandb(self.home, run_id)
        return in_mlflow(self.config.uri or "", run_id, scratch)

    def has_registry(self) -> bool:
        """Whether a model can be registered: tried, not looked up."""
        if self.config.tracker != "mlflow":
            return False
        name = "registered-by-the-benchmark"
        client = MlflowClient(self.config.uri)
        with suppress(Exception):
            client.delete_registered_model(name)
        client.create_registered_model(name)
        return True


class Unreachable(Contestant):
    """A server that is dead while the run is recorded; it is told afterwards."""

    def __init__(self, name: str, home: Path, server: Server) -> None:
        super().__init__(name, home, "mlflow", _NOWHERE)
        self._alive = server.uri

    def look(self, run_id: str) -> Seen | None:
        self.replay()
        self.config = self.config.model_copy(update={"uri": self._alive})
        try:
            return super().look(run_id)
        finally:
            self.config = self.config.model_copy(update={"uri": _NOWHERE})

    def replay(self) -> None:
        replay(self.home, [f"tracking.uri={self._alive}"], Console(io.StringIO()))

    def has_registry(self) -> bool:
        return False


class InTheStep(Contestant):
    """MLflow's client called where the figures are made, as a script by hand does it."""

    def tracker(self) -> Tracker:
        return _Direct(self.config)


class _Direct:
    """The same store without journal and thread."""

    def __init__(self, config: TrackingConfig) -> None:
        connect(config)
        self._store = MlflowStore(config)
        self.run_id = self._store_id = ""

    def begin(
        self,
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        parent: str | None = None,
    ) -> str:
        self.run_id = uuid4().hex
        begin = Begin(
            name=name, params=dict(params), tags=dict(tags), parent=parent, time_ms=_now()
        )
        self._store_id = self._store.begin(self.run_id, begin, again=False)
        return self.run_id

    def resume(self, run_id: str) -> None:
        raise NotImplementedError("one step is measured")

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        row = Metrics(values=dict(metrics), step=step, time_ms=_now())
        self._store.log(self._store_id, [row], again=False)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._store.set_tags(self._store_id, tags)

    def log_files(self, path: Path, under: str | None = None) -> None:
        for file in path.iterdir():
            self._store.log_file(self._store_id, file, f"{under}/{file.name}")

    def sync(self) -> str:
        return self._store_id

    def end(self, status: Status) -> None:
        self._store.end(self._store_id, status, _now())


def _now() -> int:
    return int(time.time() * 1000)
