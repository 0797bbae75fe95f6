"""Requests as clients send them, through the gateway, one after another on each connection."""

import base64
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

from tests.node.gateway import URL
from tests.predictor.bundles import jpeg, phantoms

CLIENTS = 4
_PAUSE_S = 0.08


@dataclass
class Traffic:
    """A bounded load: four clients, each with a pause after each answer.

    Args:
        host: that the route is for.
        model: name in the address.
    """

    host: str
    model: str
    # By status, or by the kind of the error where there was no answer; and by version.
    statuses: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._bodies = [_body(picture) for picture in map(jpeg, phantoms(64, seed=7))]
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        address = f"{URL}/v2/models/{self.model}/infer"
        with httpx.Client(headers={"Host": self.host}, timeout=60.0) as client:
            turn = number
            while not self._stop.wait(_PAUSE_S):
                body = self._bodies[turn % len(self._bodies)]
                turn += 1
                try:
                    response = client.post(address, json=body)
                    status, version = str(response.status_code), ""
                    if response.status_code == httpx.codes.OK:
                        version = response.json()["model_version"]
                except httpx.TransportError as error:
                    status, version = type(error).__name__, ""
                with self._lock:
                    self.statuses[status] += 1
                    self.versions[version] += 1

    def answered(self) -> int:
        with self._lock:
            return self.statuses["200"]

    def wait_for(self, count: int) -> None:
        """Until that many have been answered since now."""
        target, deadline = self.answered() + count, time.monotonic() + 60.0
        while self.answered() < target:
            assert time.monotonic() < deadline, dict(self.statuses)
            time.sleep(0.1)


def _body(image: bytes) -> dict[str, object]:
    tensor = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "data": [base64.b64encode(image).decode()],
        "parameters": {"content_type": "base64"},
    }
    return {"inputs": [tensor]}
