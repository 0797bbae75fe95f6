"""The page at `/`: static files of this package, and nothing from anywhere else.

Everything the page knows about the model it asks over the V2 protocol, like any other client.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

WEB = Path(__file__).parent / "web"
INDEX = "index.html"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
SECURITY = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
FOREVER = "public, max-age=31536000, immutable"
ALIVE = {"status": "alive"}


class Page:
    """Serves the page to browsers; any other client gets KServe's liveness answer at `/`.

    The files lie under an address that holds a digest of them all, so a browser keeps them for
    ever, and takes them anew when one has changed.
    """

    def __init__(self, directory: Path = WEB) -> None:
        paths = [each for each in sorted(directory.iterdir()) if each.suffix in TYPES]
        files = {each.name: each.read_bytes() for each in paths}
        self.digest = _digest(b"".join(files.values()))
        index = files.pop(INDEX).replace(b"{{files}}", f"page/{self.digest}".encode())
        self._index = _File(INDEX, index)
        self._files = {name: _File(name, content) for name, content in files.items()}

    def register(self, router: Router) -> None:
        """Add the routes; what the router holds already wins over them."""
        router.add_route("/", self._root, methods=["GET"])
        router.add_route("/page/{digest}/{name}", self._file, methods=["GET"])

    async def _root(self, request: Request) -> Response:
        vary = {"vary": "accept"}
        # Probes and load balancers accept anything; only a browser names HTML.
        if "text/html" not in request.headers.get("accept", "").lower():
            return Response(orjson.dumps(ALIVE), headers=vary, media_type="application/json")
        return self._index.answer(request, {"cache-control": "no-cache", **vary})

    async def _file(self, request: Request) -> Response:
        file = self._files.get(request.path_params["name"])
        if file is None:
            error = {"error": f"nothing is served at {request.url.path[:120]}"}
            return Response(orjson.dumps(error), 404, media_type="application/json")
        # During a rollout the page may come from one pod and ask another for its files.
        own = request.path_params["digest"] == self.digest
        return file.answer(request, {"cache-control": FOREVER if own else "no-cache"})


class _File:
    def __init__(self, name: str, content: bytes) -> None:
        self._content = content
        self._tag = f'"{_digest(content)}"'
        self._headers = {"content-type": TYPES[Path(name).suffix], "etag": self._tag, **SECURITY}

    def answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        headers = {**self._headers, **headers}
        known = request.headers.get("if-none-match", "")
        if self._tag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(self._content, headers=headers)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
