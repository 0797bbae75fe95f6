"""A predictor in a process of its own."""

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0


class RunningServer:
    """Starts `python -m predictor` on free ports; ends it when the block is left."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        launcher: Sequence[str] = ("-m", "predictor"),
    ) -> None:
        self.http_port, self.grpc_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.http_port}"
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the server
        flags = ["--http_port", str(self.http_port), "--grpc_port", str(self.grpc_port)]
        self.process = subprocess.Popen(
            [sys.executable, *launcher, *arguments, *flags],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SIGHTLINE_DRAIN_GRACE_S": "0",
                **(environment or {}),
            },
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> "RunningServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        self._log.close()

    def wait_until_ready(self) -> None:
        self.wait_for("/v2/health/ready")

    def wait_for(self, path: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log()
            try:
                if httpx.get(self.url + path, timeout=5.0).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(self.log())

    def wait_for_log(self, text: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while text not in self.log():
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def log(self) -> str:
        # A second descriptor would share the offset that the child writes at.
        return os.pread(self._log.fileno(), 1 << 24, 0).decode()

    def log_entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]


async def eventually(client: httpx.AsyncClient, path: str, *texts: str) -> None:
    """Ask until the answer holds all the texts."""
    end = time.monotonic() + PATIENCE_S
    for _ in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):
        found = (await client.get(path)).text
        if all(text in found for text in texts):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(found)


def sample(server: RunningServer, name: str) -> float:
    """A value of `/metrics`; 0 if there is none yet."""
    for line in httpx.get(server.url + "/metrics", timeout=60.0).text.splitlines():
        if line.startswith(name + " "):
            return float(line.rpartition(" ")[2])
    return 0.0


def stub_of(channel: Any) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]


def free_ports(count: int) -> tuple[int, ...]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return tuple(ports)
