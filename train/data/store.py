"""Object stores and web servers behind a URL, by fsspec, with errors that say what to do."""

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from train.address import scrubbed, without_secrets
from train.data.mirror import Entry
from train.errors import DataError, SourceAwayError

T = TypeVar("T")

_TRIES = 4
_FIRST_PAUSE_S = 0.25
_EXTRAS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_CREDENTIALS = {
    "s3fs": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role of the machine; "
    "for a public bucket data.storage_options={anon: true}",
    "gcsfs": "GOOGLE_APPLICATION_CREDENTIALS or `gcloud auth application-default login`; "
    "for a public bucket data.storage_options={token: anon}",
}
# What stores tell of a file's content; only the first of them that is told counts, because the
# listing of some has times of other digits than the answer about a single file.
_VERSIONS = (
    "ETag", "etag", "md5Hash", "Content-MD5", "generation", "LastModified", "last_modified",
    "updated", "Last-Modified", "mtime", "created",
)  # fmt: skip


class Store:
    """What is below a URL: listed, asked about, read; nothing is kept.

    Args:
        url: of a folder or file.
        options: of its file system.
        setting: the configuration's key, for errors.

    Raises:
        DataError: no package for the protocol is installed. Every method: what is asked for is not
            there, is refused, or cannot be reached in a few tries.
    """

    def __init__(self, url: str, options: Mapping[str, Any], setting: str) -> None:
        self.address = without_secrets(url)
        self.told = f"{setting} {self.address}"
        self.protocol = url.partition("://")[0]
        self._tries = _TRIES
        if self.protocol in ("gs", "gcs"):
            # It tries six times by itself, for half a minute, and logs the traceback of each.
            self._tries = 1
            logging.getLogger("gcsfs").setLevel(logging.CRITICAL + 1)
        self._system, self.base = self._open(url, options)

    def entries(self) -> dict[str, Entry]:
        """Every file below the URL by its place, as it is now."""
        self._system.invalidate_cache()
        found = self._ask(lambda: self._system.find(self.base, detail=True), self.base)
        return {
            place: _entry(place, info)
            for place, info in found.items()
            if info.get("type") != "directory" and not place.endswith("/")
        }

    def entry(self, place: str) -> Entry:
        """One file, as it is now."""
        self._system.invalidate_cache()
        return self._ask(lambda: _entry(place, self._system.info(place)), place)

    def read(self, place: str, start: int | None = None, end: int | None = None) -> bytes:
        """A file, or of it the bytes from `start` to before `end`; some servers give all of it."""
        ask = self._system.cat_file
        return self._ask(lambda: bytes(ask(place, start=start, end=end)), place)

    def _open(self, url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
        from fsspec.core import url_to_fs
        from fsspec.registry import known_implementations

        try:
            system, base = url_to_fs(url, **options)
        except ImportError as error:
            package = _EXTRAS.get(self.protocol)
            remedy = f"it needs {package}: pip install 'sightline[remote]'"
            if package is None:
                remedy = str(known_implementations.get(self.protocol, {}).get("err", error))
            raise DataError(f"{self.told} cannot be read here; {scrubbed(remedy)}") from error
        except ValueError as error:
            known = "s3, gs, http, https, file, zip::URL, tar::URL and every other of fsspec"
            raise DataError(f"{self.told}: {scrubbed(str(error))}; accepted: {known}") from error
        except Exception as error:
            raise self._explained(error, url) from error
        return system, str(base).rstrip("/")

    def _ask(self, ask: Callable[[], T], place: str) -> T:
        """Ask more than once if it fails for a reason that may pass."""
        for number in range(self._tries):
            try:
                return ask()
            except Exception as raised:  # noqa: BLE001 - each file system has its own
                error = self._cause(raised)
                if number + 1 == self._tries or not _may_pass(error):
                    raise self._explained(error, place) from error
            # Not all of those that were refused at once come back at once.
            time.sleep(_FIRST_PAUSE_S * 2**number * random.uniform(0.5, 1.5))
        raise AssertionError  # the last try has returned or raised

    def _cause(self, error: Exception) -> Exception:
        # Of web servers, fsspec says that a file is not there however it could not ask for it.
        cause = error.__cause__
        if self.protocol not in ("http", "https") or not isinstance(cause, Exception):
            return error
        return error if getattr(cause, "status", None) == 404 else cause

    def _explained(self, error: Exception, place: str) -> DataError:
        where = without_secrets(place)
        if isinstance(error, FileNotFoundError):
            return DataError(f"{self.told}: there is no {where}")
        if _is_refusal(error):
            kinds = _CREDENTIALS.get(_EXTRAS.get(self.protocol, ""))
            return DataError(
                f"{self.told}: access to {where} is refused, or the credentials for it are "
                f"missing ({type(error).__name__})"
                + (f"; {self.protocol} takes {kinds}" if kinds else "")
            )
        passing = _may_pass(error)
        tries = f" after {self._tries} tries" if self._tries > 1 and passing else ""
        reason = scrubbed(str(error)) or type(error).__name__
        return (SourceAwayError if passing else DataError)(
            f"{self.told}: {where} cannot be read{tries}: {reason}; what has been fetched is "
            "kept, and the same command goes on from there"
        )


def _entry(place: str, info: Mapping[str, Any]) -> Entry:
    version = next((str(info[key]) for key in _VERSIONS if info.get(key)), "")
    return Entry(place, info.get("size"), version)


def _is_refusal(error: Exception) -> bool:
    status = getattr(error, "status", None) or getattr(error, "code", None)
    return (
        isinstance(error, PermissionError)
        or str(status) in ("401", "403")
        or any("Credential" in kind.__name__ for kind in type(error).__mro__)
        or type(error).__name__ in ("ProfileNotFound", "RefreshError", "TokenRetrievalError")
    )


def _may_pass(error: Exception) -> bool:
    status = getattr(error, "status", None)
    if isinstance(status, int) and 400 <= status < 500 and status not in (408, 429):
        return False
    lasting = (FileNotFoundError, NotADirectoryError, TypeError, ValueError, ImportError)
    return not (isinstance(error, lasting) or _is_refusal(error))
