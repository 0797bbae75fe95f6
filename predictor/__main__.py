"""`python -m predictor`: serve one bundle until told to stop."""

import argparse
import logging
import math
import os
import sys
import threading
from collections.abc import Sequence

from kserve.model_server import parser as kserve_parser
from prometheus_client import disable_created_metrics

from model.errors import SightlineError
from predictor import logs
from predictor.errors import SettingError, StartError
from predictor.lifecycle import SightlineModel
from predictor.metrics import Metrics
from predictor.server import LOADER, SightlineServer
from predictor.settings import Settings, add_arguments, read_settings

LOGGER = logging.getLogger("sightline")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m predictor",
        description="Serve a Sightline bundle over KServe's V1 and V2 protocols.",
        parents=[kserve_parser],
        allow_abbrev=False,
    )
    add_arguments(parser)
    parser.set_defaults(grpc_max_send_message_length=None, grpc_max_receive_message_length=None)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal.

    Returns:
        The exit status: 0 after a signal, 1 if it cannot serve, 2 for a wrong setting.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        settings = read_settings(arguments, os.environ)
        settings.address()
        _check_kserve(arguments)
    except StartError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    if arguments.log_config_file is None and arguments.configure_logging:
        logs.configure(settings.log_level, settings.log_format)
    # A creation time for every series doubles their number and answers no question of ours.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        server = _server(arguments, settings)
        server.serve(SightlineModel(settings, Metrics()))
    except SightlineError as error:
        LOGGER.critical("cannot serve", extra={"data": {"error": str(error)}})
        return 2 if isinstance(error, SettingError) else 1
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        LOGGER.critical("cannot serve", exc_info=error, extra={"data": {"error": reason}})
        return 1
    return 0


def _server(arguments: argparse.Namespace, settings: Settings) -> SightlineServer:
    received = arguments.grpc_max_receive_message_length or settings.max_body_bytes
    # Maps and pictures may be more than the request; its images are bounded already.
    sent = arguments.grpc_max_send_message_length or -1
    return SightlineServer(
        (received, sent),
        http_port=arguments.http_port,
        grpc_port=arguments.grpc_port,
        workers=1,
        max_threads=arguments.max_threads,
        max_asyncio_workers=arguments.max_asyncio_workers,
        enable_grpc=arguments.enable_grpc,
        event_loop=arguments.event_loop,
        timeout_keep_alive=arguments.timeout_keep_alive,
        # Whatever was accepted is answered or given up by then.
        grace_period=math.ceil(settings.timeout_s),
        ssl_certfile=arguments.ssl_certfile,
        ssl_keyfile=arguments.ssl_keyfile,
    )


def _check_kserve(arguments: argparse.Namespace) -> None:
    if arguments.workers != 1:
        raise StartError(
            f"--workers is {arguments.workers}; accepted: 1. A pod is one process with one queue "
            "and one set of metrics; KServe scales by pods"
        )
    for name in ("http_port", "grpc_port"):
        port = getattr(arguments, name)
        if not 0 < port < 65536:
            raise StartError(f"--{name} is {port}; accepted: 1 to 65535")
    if arguments.access_log_format is not None:
        raise StartError(
            "--access_log_format is not accepted: every request has one line already; "
            "its form is --log_format json or text"
        )
    if arguments.enable_docs_url:
        raise StartError(
            "--enable_docs_url is not accepted: its page loads scripts from another site; the "
            "description is at /openapi.json"
        )
    if bool(arguments.ssl_certfile) != bool(arguments.ssl_keyfile):
        raise StartError("--ssl_certfile and --ssl_keyfile are needed together, or neither")


def run() -> None:
    status = main()
    if any(thread.name == LOADER for thread in threading.enumerate()):
        # Stopped while loading: a runtime's native code must not run on while Python is torn down.
        logging.shutdown()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    run()
