"""Real servers of data on this machine: an object store that speaks S3, and a web server."""

import base64
import functools
import http.server
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "images"


class Request(NamedTuple):
    """What a store was asked for: GET or HEAD of an object, and which bytes of it."""

    method: str
    path: str
    range: str


class ObjectStore:
    """moto behind HTTP, which tells what it was asked for, and can be told to fail.

    Attributes:
        url: of the server.
        requests: since the last time somebody cleared them.
        fault: given a request, an HTTP status to answer with instead, or None.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.fault: Callable[[Request], int | None] = lambda request: None
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "ObjectStore":
        self._thread.start()
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        self.client.create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def tags(self) -> dict[str, str]:
        """The ETag of each object, which is the MD5 of its content."""
        found = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {item["Key"]: item["ETag"].strip('"') for item in found}

    def fetched(self) -> list[str]:
        """Keys of the objects that were read, once for each time."""
        prefix = f"/{BUCKET}/"
        return [
            r.path[len(prefix) :]
            for r in self.requests
            if r.method == "GET" and r.path[len(prefix) :]
        ]

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(
            environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE", "")
        )
        self.requests.append(request)
        status = self.fault(request)
        if status is not None:
            start(f"{status} Fault", [("Content-Length", "0")])
            return [b""]
        answer: Iterable[bytes] = self._moto(environ, start)
        return answer


@contextmanager
def web_server(root: Path, user: str | None = None) -> Iterator[str]:
    """Python's own server of files: lists folders as HTML, gives no parts of files; its address.

    With a user (`name:password`) it asks for these.
    """
    wanted = None if user is None else f"Basic {base64.b64encode(user.encode()).decode()}"

    class Handler(http.server.SimpleHTTPRequestHandler):
        def send_head(self) -> Any:
            if wanted is not None and self.headers.get("Authorization") != wanted:
                self.send_error(401)
                return None
            return super().send_head()

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
