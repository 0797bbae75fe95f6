"""What has been measured, kept between runs so that a section can be measured anew by itself."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.serving import cpu
from tests.bench.serving.goals import LOST, goals

FIGURES = "serving.json"
_SAMPLES = "serving-samples.json"


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


@dataclass
class Results:
    """Rows, and the samples of each ratio, one a round.

    Attributes:
        directory: where they are kept.
        rows: of all sections.
        samples: of each ratio, and of each kind of lost request.
        notes: what each section says besides.
    """

    directory: Path
    rows: list[Row] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path) -> "Results":
        """What earlier runs left; nothing if they were made on another CPU."""
        file = directory / _SAMPLES
        if not file.is_file():
            return cls(directory)
        kept = json.loads(file.read_text())
        if kept["cpu"] != cpu.model():
            return cls(directory)
        rows = [Row(**row) for row in kept["rows"]]
        return cls(directory, rows, kept["samples"], kept["notes"])

    def forget(self, section: str) -> None:
        """Drop the rows and notes of a section that is about to be measured anew."""
        self.notes.pop(section, None)
        self.rows = [row for row in self.rows if row.section != section]

    def median(self, key: str) -> float | None:
        samples = self.samples.get(key)
        return median(samples) if samples else None

    def figures(self) -> dict[str, Any]:
        """What the file of figures holds; null for what has not been measured."""
        keys = [goal.key for goal in goals()]
        return {
            "cpu": {"model": cpu.model(), "instruction_sets": cpu.instruction_sets()},
            "ratios": {key: _rounded(self.median(key)) for key in keys if key not in LOST},
            "lost": {key: _sum(self.samples.get(key)) for key in LOST},
            "rows": [asdict(row) for row in self.rows],
        }

    def save(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        kept = {
            "cpu": cpu.model(),
            "samples": self.samples,
            "notes": self.notes,
            "rows": [asdict(row) for row in self.rows],
        }
        _write(self.directory / _SAMPLES, kept)
        _write(self.directory / FIGURES, self.figures())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _sum(samples: Sequence[float] | None) -> int | None:
    return None if samples is None else round(sum(samples))


def _write(file: Path, document: object) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    partial.replace(file)
