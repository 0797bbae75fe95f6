"""Weights & Biases: offline into the run directory by default, its servers where there is a key."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# Read when it is imported: it would report its own errors over the network.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb
from requests.utils import get_netrc_auth
from wandb.errors import AuthenticationError, Error, UsageError

from train.atomic import keep
from train.config import TrackingConfig
from train.errors import TrackingError
from train.tracking.base import Status
from train.tracking.journal import Begin, Metrics
from train.tracking.store import StoreAwayError

_EXIT_CODES: dict[Status, int] = {"FINISHED": 0, "FAILED": 1, "KILLED": 143}
_MODES = ("online", "offline")
_TIMEOUT_S = 30.0
_FOLDER = "wandb"


def wandb_mode() -> str:
    """$WANDB_MODE, else online where there is a key.

    Raises:
        TrackingError: the mode is not known.
    """
    address = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    has_key = bool(os.environ.get("WANDB_API_KEY")) or get_netrc_auth(address) is not None
    mode = os.environ.get("WANDB_MODE") or ("online" if has_key else "offline")
    if mode not in _MODES:
        raise TrackingError(f"WANDB_MODE is {mode!r}; accepted: {', '.join(_MODES)}")
    if mode == "online" and not has_key:
        raise TrackingError("WANDB_MODE is 'online', which needs a key in WANDB_API_KEY")
    return mode


class WandbStore:
    """A run of Weights & Biases, under our own id.

    Outer runs are groups: there is no nesting. What is logged after a crash may be there twice,
    unlike in MLflow: what has been sent cannot be asked for.
    """

    def __init__(self, config: TrackingConfig, directory: Path) -> None:
        self._project, self._directory = config.experiment, directory
        self._run: wandb.Run | None = None
        self.address = f"Weights & Biases in {directory / _FOLDER}"

    def check(self) -> None:
        wandb_mode()

    def begin(self, run_id: str, begin: Begin, *, again: bool) -> str:
        with self._talking():
            run = self._opened(run_id, begin)
            _configure(run, begin.params | _labelled(begin.tags))
        return run_id

    def find(self, run_id: str) -> str | None:
        return run_id

    def resume(self, store_id: str) -> None:
        with self._talking():
            self._opened(store_id)

    def log(self, store_id: str, metrics: Sequence[Metrics], *, again: bool) -> None:
        with self._talking():
            run = self._opened(store_id)
            for each in metrics:
                # Its own step may never fall, and a later step of ours counts from zero again.
                own = {"step": each.step, "_timestamp": each.time_ms / 1000}
                run.log({**each.values, **own})

    def set_tags(self, store_id: str, tags: Mapping[str, str]) -> None:
        with self._talking():
            _configure(self._opened(store_id), _labelled(tags))

    def log_file(self, store_id: str, file: Path, path: str) -> None:
        with self._talking():
            run = self._opened(store_id)
            # Where it stays: what is handed over here is removed afterwards.
            place = Path(run.dir) / path
            keep(file, place)
            run.save(str(place), base_path=run.dir, policy="now")

    def end(self, store_id: str, status: Status, time_ms: int) -> None:
        with self._talking():
            self._opened(store_id).finish(exit_code=_EXIT_CODES[status])
        self._run = None
        _SERVICE.closed()

    def _opened(self, run_id: str, begin: Begin | None = None) -> wandb.Run:
        """The run, opened in this process; a later step adds to it by its id."""
        if self._run is not None:
            return self._run
        mode = wandb_mode()
        home = self._directory / _FOLDER
        home.mkdir(parents=True, exist_ok=True)
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            os.environ.setdefault(name, str(home))
        self._run = wandb.init(
            project=self._project,
            id=run_id,
            dir=str(self._directory),
            name=begin.name if begin else None,
            group=begin.parent if begin else None,
            mode="online" if mode == "online" else "offline",
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            settings=_settings(),
        )
        _SERVICE.opened()
        self._run.define_metric("*", step_metric="step")
        return self._run

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except (AuthenticationError, UsageError) as error:
            raise TrackingError(f"{self.address} cannot be used: {error}") from error
        except (Error, OSError) as error:
            raise StoreAwayError(f"{self.address} cannot be reached: {error}") from error


def _settings() -> wandb.Settings:
    # Nothing of the machine or the command line is sent beyond what we log ourselves.
    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        init_timeout=_TIMEOUT_S,
        finish_timeout=_TIMEOUT_S,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
    )


def _configure(run: wandb.Run, values: Mapping[str, str]) -> None:
    run.config.update(dict(values), allow_val_change=True)  # type: ignore[no-untyped-call]


def _labelled(tags: Mapping[str, str]) -> dict[str, str]:
    # Tags are bare words there; ours have values, and stand among the settings.
    return {f"tag/{key}": value for key, value in tags.items()}


class _Service:
    """The library's own process, one for all runs of this one; the last to end ends it."""

    def __init__(self) -> None:
        self._runs, self._lock = 0, threading.Lock()

    def opened(self) -> None:
        with self._lock:
            self._runs += 1

    def closed(self) -> None:
        with self._lock:
            self._runs -= 1
            if self._runs == 0:
                wandb.teardown()


_SERVICE = _Service()
