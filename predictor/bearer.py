"""The token that clients must send, if the server was given a file that holds it."""

import hmac
import logging
from pathlib import Path

from predictor.errors import SettingError, UnauthorisedError

LOGGER = logging.getLogger("sightline.token")

SCHEME = "Bearer"

_Mark = tuple[int, int, int]


class TokenFile:
    """Tokens of a mounted file, one a line; any of them opens.

    The file is read again when it changes, as a Kubernetes secret does when it is rotated: while
    it holds the old and the new token, no client is refused. A file that has become unreadable or
    empty leaves the last tokens in force: neither everybody nor nobody is let in by a slip.

    Args:
        path: of the file.

    Raises:
        SettingError: it cannot be read, or is empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._mark = _mark(path)
            self._tokens = _read(path)
        except OSError as error:
            raise SettingError(f"--token_file {path} cannot be read: {error.strerror}") from None
        if not self._tokens:
            raise SettingError(
                f"--token_file {path} is empty; a token is expected on its first line"
            )

    def check(self, authorization: str | None) -> None:
        """Compare the `Authorization` header, in a time that says nothing about the tokens.

        Raises:
            UnauthorisedError: it is absent, of another scheme, or wrong.
        """
        self._refresh()
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != SCHEME.lower():
            raise UnauthorisedError(f"the header Authorization: {SCHEME} <token> is missing")
        token = given.strip().encode()
        # Every token is compared, so that the time does not tell which of them was near.
        if not any([hmac.compare_digest(token, each) for each in self._tokens]):  # noqa: C419
            raise UnauthorisedError("the token in the header Authorization is not accepted")

    def _refresh(self) -> None:
        try:
            mark = _mark(self._path)
            if mark == self._mark:
                return
            tokens = _read(self._path)
        except OSError:
            mark, tokens = (0, 0, 0), []
        if mark == self._mark:
            return
        self._mark = mark
        if tokens:
            self._tokens = tokens
            LOGGER.info("token file read again", extra={"data": {"tokens": len(tokens)}})
        else:
            LOGGER.error("token file is gone or empty; the last tokens stay in force")


def _mark(path: Path) -> _Mark:
    # A secret is replaced through a link to another directory, so the inode differs.
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> list[bytes]:
    return path.read_bytes().split()
