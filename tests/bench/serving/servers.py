"""The servers that are measured, each a group of processes of its own."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.bench import processes
from tests.bench.serving import requests
from tests.bench.serving.connection import HOST
from tests.bench.serving.images import Picture

ROOT = Path(__file__).parents[3]
PEERS = ROOT / "build/peers"
_RIVALS = Path(__file__).parent / "rivals"
_START_S, _STOP_S = 180.0, 60.0
_POLL_S = 0.01

Encode = Callable[[Picture], bytes]


@dataclass(frozen=True)
class Server:
    """How a server is started and asked.

    Attributes:
        name: in the table.
        command: starts it; `{port}` stands for its port.
        ready: answers 200 to a GET when it can be asked.
        encode: a picture as a whole request.
        environment: variables added to ours.
    """

    name: str
    command: Sequence[str]
    ready: str
    encode: Encode
    environment: Mapping[str, str] = field(default_factory=dict)


class Running:
    """A started server; ended, with all its processes, when the block is left.

    While it is paused none of its processes can run: some poll when they have nothing to do, and
    would take the CPU from the one that is measured.
    """

    def __init__(self, server: Server, logs: Path) -> None:
        self.server = server
        self.port = free_port()
        self._log = logs / f"{server.name.replace('/', '-').replace(' ', '-')}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [part.format(port=self.port) for part in server.command],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **server.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.resume()
        try:
            with suppress(subprocess.TimeoutExpired):
                self.process.terminate()
                self.process.wait(_STOP_S)
        finally:
            # Whatever children it left behind.
            self._signal(signal.SIGKILL)
            self.process.wait(_STOP_S)

    def wait_until_ready(self) -> float:
        """Wait, and say how many seconds after its start it was ready."""
        end = time.monotonic() + _START_S
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.server.name} did not become ready: {self.log()[-2000:]}")
            time.sleep(_POLL_S)
        return time.monotonic() - self.started

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5.0)
        try:
            connection.request("GET", self.server.ready)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def pids(self) -> tuple[int, ...]:
        return processes.tree(self.process.pid)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def sightline(name: str, bundle: Path, *flags: str) -> Server:
    """This project's predictor, asked with a JPEG as V1's body.

    Args:
        name: in the table.
        bundle: what it serves, by the name `bench`.
        flags: further ones.
    """
    command = [sys.executable, "-m", "predictor", "--bundle", str(bundle), "--model_name", "bench"]
    ports = ["--http_port", "{port}", "--grpc_port", str(free_port())]
    return Server(
        name,
        [*command, *ports, *flags],
        "/v2/health/ready",
        lambda picture: requests.jpeg_body("/v1/models/bench:predict", picture),
    )


def v2_uint8(picture: Picture) -> bytes:
    """The predictor's other request: the network's input as a binary tensor."""
    return requests.v2_pixels("/v2/models/bench/infer", "pixels", picture.pixels, "UINT8")


def fastapi(graph: Path) -> Server:
    return Server(
        "fastapi",
        [sys.executable, str(_RIVALS / "fastapi_server.py"), str(graph), "{port}"],
        "/ready",
        lambda picture: requests.jpeg_body("/predict", picture),
    )


def kserve(graph: Path) -> Server:
    return Server(
        "kserve sample",
        [sys.executable, str(_RIVALS / "kserve_server.py"), str(graph), "{port}"],
        "/v1/models/sample",
        lambda picture: requests.v1_sample("/v1/models/sample:predict", picture),
    )


def kserve_v2(datatype: str) -> Encode:
    """The KServe SDK's other request."""
    path = "/v2/models/sample/infer"
    return lambda picture: requests.v2_pixels(path, "image", picture.pixels, datatype)


def peers(graph: Path) -> list[Server]:
    """Those that `make bench-peers` has installed.

    Raises:
        FileNotFoundError: it has not.
    """
    python = {name: PEERS / name / "bin/python" for name in ("mlserver", "litserve", "bentoml")}
    for name, file in python.items():
        if not file.exists():
            raise FileNotFoundError(f"{file} is missing: `make bench-peers` installs {name}")
    bento = [str(python["bentoml"]), "-m", "bentoml", "serve", "bentoml_service:Classifier"]
    local = ["--host", HOST, "--port", "{port}", "--working-dir", str(_RIVALS)]
    environment = {"BENCH_MODEL": str(graph), "BENTOML_DO_NOT_TRACK": "true"}
    return [
        Server(
            "mlserver",
            [str(python["mlserver"]), str(_RIVALS / "mlserver_server.py"), str(graph), "{port}"],
            "/v2/models/sample/ready",
            lambda picture: requests.v2_base64("/v2/models/sample/infer", picture),
        ),
        Server(
            "litserve",
            [str(python["litserve"]), str(_RIVALS / "litserve_server.py"), str(graph), "{port}"],
            "/health",
            lambda picture: requests.base64_field("/predict", picture),
        ),
        Server(
            "bentoml",
            [*bento, *local],
            "/readyz",
            lambda picture: requests.form("/predict", picture),
            environment,
        ),
    ]


def free_port() -> int:
    with socket.create_server((HOST, 0)) as opened:
        return int(opened.getsockname()[1])
