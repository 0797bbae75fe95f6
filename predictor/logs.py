"""One line per request and per event, for machines; and what must never be in it.

Neither pixels nor file names, patient data or text that came out of an image are logged: of a
failure, only its slug, and of an unexpected exception, its type and where it was raised.
"""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

REQUESTS = logging.getLogger("sightline.request")

_QUIET = ("kserve.trace", "uvicorn.access")


def configure(level: str, log_format: str) -> None:
    """Send everything to stderr in one format, and silence what repeats our request line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    logging.getLogger("sightline").setLevel(level.upper())
    # KServe configures logging by itself unless its logger has a handler already.
    for name in ("kserve", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if name == "kserve" else []
        logger.propagate = name != "kserve"
        logger.setLevel(logging.WARNING if level != "debug" else logging.DEBUG)
    for name in _QUIET:
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = False
        logger.disabled = True


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; `extra={"data": {...}}` becomes fields."""

    def format(self, record: logging.LogRecord) -> str:
        return orjson.dumps(fields(record), default=str).decode()


class TextFormatter(logging.Formatter):
    """The same fields for a person's eyes."""

    def format(self, record: logging.LogRecord) -> str:
        values = fields(record)
        head = f"{values.pop('time')} {values.pop('level'):7} {values.pop('event')}"
        return " ".join([head, *(f"{key}={value}" for key, value in values.items())])


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What is logged of a record. A traceback keeps its frames and loses its message."""
    time = datetime.fromtimestamp(record.created, UTC)
    values: dict[str, Any] = {
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": record.getMessage(),
    }
    values.update(getattr(record, "data", {}))
    if record.exc_info and record.exc_info[1] is not None:
        values.update(where(record.exc_info[1]))
    return values


def where(error: BaseException) -> dict[str, Any]:
    """Type of an exception and the frames it passed, without values and without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "exception": type(error).__name__,
        "traceback": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
