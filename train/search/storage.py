"""The database that a study is kept in."""

import random
import time
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from train.errors import SearchError
from train.search.config import SearchConfig

DATABASE = "study.db"
_MISSED_HEARTBEATS = 4
_SQLITE_TIMEOUT_S = 60
_ATTEMPTS = 5


def storage_url(search: SearchConfig) -> str:
    """The address of the database; a file in the study's directory where none is given."""
    return search.storage or f"sqlite:///{search.directory / DATABASE}"


def grace_s(search: SearchConfig) -> int:
    """How long a trial may show no sign of life, in seconds."""
    return _MISSED_HEARTBEATS * search.heartbeat_s


def open_storage(url: str, search: SearchConfig) -> RDBStorage:
    """Connect with the database, and make its tables where there are none.

    Raises:
        SearchError: the address is none.
        Exception: whatever SQLAlchemy, Optuna or the driver raise.
    """
    sqlite = url.startswith("sqlite")
    if sqlite:
        search.directory.mkdir(parents=True, exist_ok=True)
    # A connection may have been closed by the server, or a proxy before it, during a long epoch.
    kwargs: dict[str, Any] = (
        {"connect_args": {"timeout": _SQLITE_TIMEOUT_S}} if sqlite else {"pool_pre_ping": True}
    )
    for attempt in range(_ATTEMPTS):
        try:
            storage = RDBStorage(
                url,
                engine_kwargs=kwargs,
                heartbeat_interval=search.heartbeat_s,
                grace_period=grace_s(search),
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(
                    search.retries, inherit_intermediate_values=True
                ),
            )
            break
        except ArgumentError as error:
            raise SearchError(f"search key storage is no database URL: {error}") from error
        except (SQLAlchemyError, StorageInternalError):
            # Two processes that make the tables at once: one of them finds that they are there.
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(random.random())
    if sqlite:
        share_sqlite(storage.engine)
    return storage


def share_sqlite(engine: sqlalchemy.Engine) -> None:
    """Let several processes use one sqlite file.

    Left alone, the driver begins a transaction at the first write, so that what was read before it
    may have changed, and two processes can take the same waiting trial. Here each transaction
    takes its turn from its beginning on.
    """

    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")

    def on_begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()
    sqlalchemy.event.listen(engine, "connect", on_connect)
    sqlalchemy.event.listen(engine, "begin", on_begin)


def shown(url: str) -> str:
    """A database's address without its password."""
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "(no database URL)"
