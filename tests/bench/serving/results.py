"""What the file of the predictor's figures holds."""

from dataclasses import asdict, dataclass
from typing import Any

from tests.bench import cpu
from tests.bench.results import Results, rounded, summed
from tests.bench.serving.goals import LOST, goals

FIGURES = "serving.json"


@dataclass(frozen=True)
class Row:
    """One load on one server.

    Attributes:
        section: that measured it.
        round: of the section, from 0.
        server: name of the server.
        image: what was sent.
        concurrency: clients of a closed loop; 0 for an open one.
        rate: requests per second that an open loop sent; None for a closed one.
        requests_per_second: answered.
        p50_ms: latency; likewise p95 and p99. None if nothing was answered.
        errors: requests not answered with 200.
        cpu_ms_per_request: of all the server's processes.
        client_cpu_ms_per_request: of the clients, which share the CPUs.
        peak_rss_mb: of all the server's processes, during this load.
    """

    section: str
    round: int
    server: str
    image: str
    concurrency: int
    rate: float | None
    requests_per_second: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    errors: int
    cpu_ms_per_request: float
    client_cpu_ms_per_request: float
    peak_rss_mb: float


class ServingResults(Results[Row]):
    """Loads on servers, ratios, and how many requests were lost."""

    FIGURES = FIGURES

    @staticmethod
    def row(**values: Any) -> Row:
        return Row(**values)

    def figures(self) -> dict[str, Any]:
        keys = [goal.key for goal in goals()]
        return {
            "cpu": cpu.description(),
            "ratios": {key: rounded(self.median(key)) for key in keys if key not in LOST},
            "lost": {key: summed(self.samples.get(key)) for key in LOST},
            "rows": [asdict(row) for row in self.rows],
        }
