"""Prometheus, as it is installed: its server, and promtool."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from tests.predictor.servers import PATIENCE_S, free_ports

Labels = dict[str, str]


def program(name: str) -> str:
    """Where a program of Prometheus is."""
    variable = "SIGHTLINE_" + name.upper()
    found = shutil.which(os.environ.get(variable) or name)
    assert found, (
        f"{name} is missing: apt-get install prometheus has it on Debian and Ubuntu; or take it "
        f"from https://prometheus.io/download/ and name it in {variable}"
    )
    return found


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, check=False
    )


@dataclass(frozen=True)
class Target:
    """What is scraped, with the labels that service discovery would give it."""

    address: str
    labels: Labels


@dataclass(frozen=True)
class Sample:
    """A value of an instant query."""

    labels: Labels
    value: float


@dataclass(frozen=True)
class Series:
    """Values over time: seconds since 1970, and value."""

    labels: Labels
    points: list[tuple[float, float]]


class Prometheus:
    """A server in a process of its own; ends when the block is left.

    Args:
        folder: for its configuration, its data and its log.
        targets: what it scrapes, every second.
        rules: groups of rules as in a PrometheusRule, evaluated every second.

    Attributes:
        address: where its HTTP API is.
    """

    def __init__(self, folder: Path, targets: Sequence[Target], rules: Mapping[str, Any]) -> None:
        (self._port,) = free_ports(1)
        self._log = (folder / "prometheus.log").open("w+")
        config = {
            "global": {
                "scrape_interval": "1s",
                "scrape_timeout": "1s",
                "evaluation_interval": "1s",
            },
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                {
                    # The labels of a target win over those of the series, as a PodMonitor has it.
                    # kube-state-metrics is scraped the other way round.
                    "job_name": f"target-{number}",
                    "honor_labels": not each.labels,
                    "static_configs": [{"targets": [each.address], "labels": each.labels}],
                }
                for number, each in enumerate(targets)
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
        self.address = f"http://127.0.0.1:{self._port}"
        self._client = httpx.Client(base_url=self.address, timeout=30.0)
        self._process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--log.level=warn",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._client.close()
        self._log.close()

    def log(self) -> str:
        return os.pread(self._log.fileno(), 1 << 20, 0).decode()

    def query(self, expr: str) -> list[Sample]:
        """Ask for now.

        Raises:
            AssertionError: Prometheus refuses the query; says why.
        """
        result = self._get("/api/v1/query", query=expr)["result"]
        return [Sample(each["metric"], float(each["value"][1])) for each in result]

    def query_range(self, expr: str, start_s: float, end_s: float) -> list[Series]:
        """Ask for every second of a time, both ends in seconds since 1970."""
        found = self._get("/api/v1/query_range", query=expr, start=start_s, end=end_s, step=1)
        return [
            Series(each["metric"], [(float(at), float(value)) for at, value in each["values"]])
            for each in found["result"]
        ]

    def rules(self) -> list[dict[str, Any]]:
        groups = self._get("/api/v1/rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def wait_until(self, expr: str, what: str) -> None:
        """Ask until there is an answer."""
        end = time.monotonic() + PATIENCE_S
        while True:
            assert self._process.poll() is None, self.log()
            try:
                if self.query(expr):
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < end, f"{what}: {expr}\n{self.log()}"
            time.sleep(0.2)

    def _get(self, path: str, **parameters: object) -> dict[str, Any]:
        answer = self._client.get(path, params={k: str(v) for k, v in parameters.items()})
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise httpx.TransportError("starting")
        told = json.loads(answer.text)
        assert told["status"] == "success", f"{told.get('error')}: {parameters}"
        data: dict[str, Any] = told["data"]
        return data
