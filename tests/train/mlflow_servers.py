"""A real MLflow server that can be killed and started again, and a bad road to it."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

_START_S = 120.0
Weather = Literal["fair", "fails", "hangs", "loses"]


class Server:
    """`mlflow server` on sqlite and a folder, always on the same port."""

    def __init__(self, home: Path) -> None:
        self._home = home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._home / 'server.db'}"]
        command += ["--artifacts-destination", str(self._home / "artifacts")]
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Of its own, so that its workers go with it.
                start_new_session=True,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            assert self._process.poll() is None, (self._home / "server.log").read_text()
            assert time.monotonic() < deadline, (self._home / "server.log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class Road(ThreadingHTTPServer):
    """Passes requests on to a server, or does to them what a network or a sick server does.

    `fails` answers 500, `hangs` accepts and never answers, `loses` passes the request on and then
    drops the connection, so that what was asked is done and nobody hears of it.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passer)
        self.beyond = port
        self.weather: Weather = "fair"
        self.requests = 0
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"


class _Passer(BaseHTTPRequestHandler):
    server: Road

    def _pass(self) -> None:
        road = self.server
        road.requests += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        weather = road.weather
        if weather == "hangs":
            # Until whoever asked has gone.
            self.connection.recv(1)
            return
        if weather == "fails":
            self.send_error(500)
            return
        connection = http.client.HTTPConnection("127.0.0.1", road.beyond, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if weather == "loses":
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"] or "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(home: Path) -> Iterator[Server]:
    server = Server(home)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def road_to(server: Server) -> Iterator[Road]:
    with Road(server.port) as road:
        thread = threading.Thread(target=road.serve_forever, daemon=True)
        thread.start()
        try:
            yield road
        finally:
            road.shutdown()
