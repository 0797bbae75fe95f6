"""Load on one server, and what comes of it.

A closed loop has a number of clients, each of which sends as soon as it has its answer. An open
loop sends at a fixed rate whatever the answers do, and counts from the moment at which a request
should have been sent: a server that stands still delays all who come meanwhile, and that shows.
"""

import pickle
import subprocess
import sys
from dataclasses import dataclass

WARM_UP_LIMIT_S = 15.0


@dataclass(frozen=True)
class Load:
    """What to send, and for how long.

    Attributes:
        port: of 127.0.0.1.
        requests: whole HTTP requests, sent in turn.
        clients: how many there are in a closed loop.
        rate: requests per second of an open loop; None for a closed one.
        warm_up_s: not counted; in a closed loop at least until every client had an answer.
        window_s: counted.
        pids: the server's processes.
    """

    port: int
    requests: tuple[bytes, ...]
    clients: int = 1
    rate: float | None = None
    warm_up_s: float = 0.5
    window_s: float = 3.0
    pids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came back.

    Attributes:
        requests_per_second: answered ones, of the window.
        latencies_s: of the requests that were sent in the window, whenever they were answered.
        errors: of those, the ones not answered with 200.
        cpu_s: of the server for each request answered in the window.
        client_cpu_s: of this process, likewise.
    """

    requests_per_second: float
    latencies_s: list[float]
    errors: int
    cpu_s: float
    client_cpu_s: float


def apply(load: Load) -> Outcome:
    """Put a load on a server from a process of its own."""
    limit_s = WARM_UP_LIMIT_S + load.warm_up_s + load.window_s + 90.0
    made = subprocess.run(
        [sys.executable, "-m", "tests.bench.serving.clients"],
        input=pickle.dumps(load),
        stdout=subprocess.PIPE,
        check=True,
        timeout=limit_s,
    )
    outcome = pickle.loads(made.stdout)
    assert isinstance(outcome, Outcome)
    return outcome
