"""The two listeners: KServe's REST and gRPC servers with our routes and our service."""

import contextlib
import math
import socket
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import (
    add_GRPCInferenceServiceServicer_to_server,
)
from kserve.protocol.rest.server import RESTServer, _RefreshingServer, metrics_handler
from starlette.exceptions import HTTPException

from predictor.connection import Connections
from predictor.errors import SettingError
from predictor.routes import Routes, http_error, internal_error
from predictor.servicer import SightlineServicer

APP = "kserve.model_server:app"
BACKLOG = 2048

# A gRPC connection is asked whether anybody is there, and closed when it has had no call for long;
# clients open another one by themselves.
_KEEPALIVE_MS = 60_000
_IDLE_MS = 300_000


class _HttpServer(_RefreshingServer):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would take the signals for itself, and raise them anew when it has stopped.
        yield


class RestServer(RESTServer):
    """KServe's app with our routes only.

    None of the SDK's inference routes is registered, nor its timing middleware, which costs time
    and two log lines per request.
    """

    def __init__(
        self, routes: Routes, connections: Connections, http_port: int, **options: Any
    ) -> None:
        super().__init__(APP, http_port=http_port, **options)
        self.config.access_log = False
        self.config.http = connections.make  # type: ignore[assignment]
        # Nothing here is a WebSocket; one would take its connection out of our bounds.
        self.config.ws = "none"
        if self.config.is_ssl:
            _load_certificate(self.config)
        self._server = _HttpServer(self.config)
        self._routes = routes
        self._listener = listen(http_port)

    async def start(self) -> None:
        """Serve until :meth:`finish`, then until what was accepted is answered."""
        self.create_application()  # type: ignore[no-untyped-call]
        await self._server.serve(sockets=[self._listener])

    def finish(self) -> None:
        self._server.should_exit = True

    def _register_endpoints(self, app: Any) -> None:
        # FastAPI's own document knows none of our routes.
        app.router.routes[:] = [each for each in app.routes if each.path != app.openapi_url]
        self._routes.register(app.router)
        app.add_api_route("/", self.dataplane.live, include_in_schema=False)
        app.add_api_route("/metrics", metrics_handler, methods=["GET"])

    def _add_middlewares(self, app: Any) -> None:
        """None: see the class."""

    def _add_exception_handlers(self, app: Any) -> None:
        app.add_exception_handler(HTTPException, http_error)
        app.add_exception_handler(Exception, internal_error)


class GrpcServer:
    """The V2 protocol's gRPC server.

    KServe's own cannot be given another service, and logs a line per call.

    Args:
        servicer: answers.
        port: to listen at.
        max_bytes: of a message, either way.
        grace_s: how long what was accepted may take after :meth:`stop`.
        max_calls: how many calls may be open, those that still arrive among them.
        client_timeout_s: how long a new connection may take to say hello, and a silent one to
            answer whether it is still there.
        tls: files of the certificate and of its key; without them the port is in clear text.
    """

    def __init__(
        self,
        servicer: SightlineServicer,
        port: int,
        max_bytes: tuple[int, int],
        grace_s: float,
        max_calls: int | None = None,
        client_timeout_s: float = 10.0,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self._servicer = servicer
        self._port = port
        self._max_bytes = max_bytes
        self._grace_s = grace_s
        self._max_calls = max_calls
        self._client_timeout_ms = math.ceil(1e3 * client_timeout_s)
        self._tls = tls
        self._server: Any = None

    async def start(self, max_workers: int) -> None:
        """Open the port and serve.

        Raises:
            SettingError: the port is taken, or the certificate cannot be used.
        """
        received, sent = self._max_bytes
        options = [
            ("grpc.max_receive_message_length", received),
            ("grpc.max_send_message_length", sent),
            # Else a second server on the port would silently share it.
            ("grpc.so_reuseport", 0),
            ("grpc.server_handshake_timeout_ms", self._client_timeout_ms),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", self._client_timeout_ms),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
        ]
        pool = futures.ThreadPoolExecutor(max_workers, thread_name_prefix="grpc")
        server = aio.server(pool, options=options, maximum_concurrent_rpcs=self._max_calls)
        add_GRPCInferenceServiceServicer_to_server(self._servicer, server)  # type: ignore[no-untyped-call]
        try:
            address = f"[::]:{self._port}"
            if self._tls is None:
                server.add_insecure_port(address)
            else:
                certificate, key = (file.read_bytes() for file in self._tls)
                credentials = grpc.ssl_server_credentials([(key, certificate)])
                server.add_secure_port(address, credentials)
        except RuntimeError:
            raise SettingError(f"--grpc_port {self._port} cannot be opened") from None
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Accept nothing more and wait for what was accepted."""
        if self._server is not None:
            await self._server.stop(self._grace_s)


def _load_certificate(config: Any) -> None:
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise SettingError(f"--ssl_certfile or --ssl_keyfile cannot be used: {error}") from None


def listen(port: int) -> socket.socket:
    """Open a port for HTTP.

    Raises:
        SettingError: it is taken.
    """
    try:
        return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # noqa: S104
    except OSError as error:
        raise SettingError(f"--http_port {port} cannot be opened: {error}") from None
