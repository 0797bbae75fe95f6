"""Series of programs that cannot run here, from a file; and whatever registry is given."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

CLUSTER = Path(__file__).with_name("cluster.prom")
_TIME = re.compile(r"\{now([+-]\d+)\}")


def series(file: Path = CLUSTER) -> str:
    """The file, with its times around now."""
    now = time.time()
    return _TIME.sub(lambda found: repr(now + int(found[1])), file.read_text())


@contextmanager
def exporter(*sources: Path | CollectorRegistry) -> Iterator[str]:
    """Serve files and registries at one address, until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            texts = [
                series(each) if isinstance(each, Path) else generate_latest(each).decode()
                for each in sources
            ]
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write("".join(texts).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
