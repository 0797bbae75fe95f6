"""KServe's server around one model, and a shutdown that loses nothing.

The sockets open before the model is loaded, so liveness is true from the beginning and readiness
tells the truth. On SIGTERM the model stops being ready, but for a grace period new requests are
still answered: gateways and kube-proxies hear of the pod's end later than the pod does. Then no
new connection is accepted, whatever has been accepted is answered, and the process ends with 0. A
second signal cuts the grace period short, and so does SIGINT, which a person at a terminal sends.
"""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

from kserve.model_server import ModelServer

from predictor.connection import Connections
from predictor.journal import Journal
from predictor.lifecycle import SightlineModel
from predictor.metrics import Metrics
from predictor.records import Records
from predictor.routes import Routes
from predictor.servicer import SightlineServicer
from predictor.settings import Settings
from predictor.tracing import tracing_of
from predictor.transport import GrpcServer, RestServer

LOGGER = logging.getLogger("sightline.server")

LOADER = "load"


class SightlineServer(ModelServer):
    """One model, one process; KServe scales by pods.

    Args:
        grpc_max_bytes: of a message received, and of one sent.
        options: those of `kserve.ModelServer`.
    """

    def __init__(self, grpc_max_bytes: tuple[int, int], **options: Any) -> None:
        super().__init__(**options)
        self._grpc_max_bytes = grpc_max_bytes

    def serve(self, model: SightlineModel) -> None:
        """Serve until a signal.

        Raises:
            SightlineError: a port is taken, or the model cannot be loaded.
        """
        settings, metrics = model.settings, model.metrics
        records = _records(settings, metrics)
        tracing = tracing_of(os.environ)
        journal = Journal(metrics, model.identity, records, tracing)
        connections = Connections(
            settings.max_connections,
            settings.client_timeout_s,
            lambda reason: metrics.connections_closed.labels(reason).inc(),
        )
        metrics.connections.set_function(lambda: connections.open)
        rest = RestServer(
            Routes(model, journal),
            connections,
            http_port=self.http_port,
            data_plane=self.dataplane,
            model_repository_extension=self.model_repository_extension,
            grace_period=self.grace_period,
            event_loop=self.event_loop,
            timeout_keep_alive=self.timeout_keep_alive,
            ssl_certfile=self.ssl_certfile,
            ssl_keyfile=self.ssl_keyfile,
        )
        files = [Path(each) for each in (self.ssl_certfile, self.ssl_keyfile) if each]
        tls = (files[0], files[1]) if len(files) == 2 else None
        grpc = GrpcServer(
            SightlineServicer(model, journal),
            self.grpc_port,
            self._grpc_max_bytes,
            self.grace_period,
            # Those that the door refuses need a moment too.
            2 * settings.max_requests,
            settings.client_timeout_s,
            tls,
        )
        try:
            with asyncio.Runner(loop_factory=rest.config.get_loop_factory()) as runner:
                runner.run(self._serve_until_stopped(model, rest, grpc))
        finally:
            for sink in (records, tracing):
                if sink is not None:
                    sink.close()

    async def _serve_until_stopped(
        self, model: SightlineModel, rest: RestServer, grpc: GrpcServer
    ) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_quietly)
        stop, hurry = asyncio.Event(), asyncio.Event()

        def on_signal(number: signal.Signals) -> None:
            if stop.is_set() or number == signal.SIGINT:
                hurry.set()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal, number)
        if self.enable_grpc:
            await grpc.start(self.max_threads)
        http = asyncio.create_task(rest.start())
        ports = {"http_port": self.http_port, "grpc_port": self.grpc_port * self.enable_grpc}
        LOGGER.info("listening", extra={"data": ports})
        try:
            await _until(stop, http, asyncio.create_task(self._load(model)))
            await _until(stop, http)
            if model.ready:
                model.stop()
                grace_s = model.settings.drain_grace_s
                LOGGER.info("draining", extra={"data": {"grace_s": grace_s}})
                await _until(hurry, http, asyncio.create_task(asyncio.sleep(grace_s)))
        finally:
            LOGGER.info("stopping")
            model.stop()
            rest.finish()
            await asyncio.gather(http, grpc.stop())
            await model.close()
            LOGGER.info("stopped")

    async def _load(self, model: SightlineModel) -> None:
        # Not in a pool: a pool's threads are waited for at exit, and loading may take minutes.
        loop = asyncio.get_running_loop()
        loaded = loop.create_future()

        def settle(error: BaseException | None) -> None:
            if not loaded.done():
                loaded.set_result(None) if error is None else loaded.set_exception(error)

        def work() -> None:
            outcome: BaseException | None = None
            try:
                model.load()
            except BaseException as error:  # noqa: BLE001 - it is raised anew in the loop
                outcome = error
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, outcome)

        threading.Thread(target=work, name=LOADER, daemon=True).start()
        await loaded
        self.register_model(model)


def _records(settings: Settings, metrics: Metrics) -> Records | None:
    if settings.request_log is None:
        return None
    return Records(
        Path(settings.request_log),
        settings.request_log_max_bytes,
        settings.request_log_files,
        metrics.request_log_dropped.inc,
    )


async def _until(stop: asyncio.Event, http: asyncio.Task[None], *work: asyncio.Task[None]) -> None:
    """Wait for the work or, without any, for ever; in either case no longer than for `stop`."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((http, stopping, *work), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for task in work:
        if task.done():
            task.result()
        else:
            task.cancel()


def _log_quietly(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # The default handler prints the objects concerned, requests among them.
    LOGGER.error(
        "event loop",
        exc_info=context.get("exception"),
        extra={"data": {"what": context["message"]}},
    )
