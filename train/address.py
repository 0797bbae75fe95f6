"""Addresses of data: which are URLs, and what of them may be written down."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

# In these the part before the @ is a container, no user.
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")
# Names of objects and members may have a question mark; everywhere else it begins a query.
_KEYS = ("s3", "s3a", "gs", "gcs", "zip", "tar")
# gcsfs has words for where a token comes from; they are no tokens.
_TOKEN_WORDS = ("anon", "browser", "cache", "cloud", "google_default")
_SECRET_OPTION = re.compile(
    r"key|secret|token|passw|credential|\bsas|signature|auth", re.IGNORECASE
)

Address = Path | str


def is_url(text: str) -> bool:
    """Whether it is an address of fsspec, such as s3://bucket/folder or zip::https://host/a.zip."""
    return "://" in text or "::" in text


def address(value: Address) -> Address:
    """A path as a Path, a URL of local files included; any other URL as it is."""
    text = str(value)
    if text.startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    return text if is_url(text) else Path(text)


def without_secrets(value: Address) -> str:
    """The address as it may be recorded: without user, password and query."""
    if isinstance(value, Path):
        return str(value)
    return "::".join(_bare(link) for link in value.split("::"))


def scrubbed(text: str) -> str:
    """A message of a library, with the same taken out of every URL that it quotes."""
    return re.sub(r"\w+://[^\s'\"<>()]+", lambda found: _bare(found[0]), text)


def secret_option(options: dict[str, Any]) -> str | None:
    """The first option of a file system that has to be a secret, if there is one."""
    for name, value in options.items():
        if isinstance(value, dict):
            inner = secret_option(value)
            if inner is not None:
                return f"{name}.{inner}"
        elif isinstance(value, str) and _SECRET_OPTION.search(name) and value not in _TOKEN_WORDS:
            return name
    return None


def _bare(link: str) -> str:
    scheme, separator, rest = link.partition("://")
    if not separator:
        return link
    if scheme not in _KEYS:
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    if scheme not in _CONTAINERS:
        host = host.rpartition("@")[2]
    return f"{scheme}://{host}{slash}{path}"
