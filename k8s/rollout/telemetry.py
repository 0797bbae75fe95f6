"""What the analyst says of itself: metrics, probes, and logs as JSON lines."""

import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from k8s.rollout.decision import Decision
from k8s.rollout.record import Record
from k8s.rollout.state import Phase

PHASES = ("first", *(phase.value for phase in Phase))


class Telemetry:
    """Metrics of one release's rollouts, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._phase = Gauge(
            "sightline_rollout_phase",
            "1 for the phase that the rollout is in.",
            ["phase"],
            registry=self.registry,
        )
        self._step = Gauge(
            "sightline_rollout_step", "Index of the step, from 0.", registry=self.registry
        )
        self._weight_percent = Gauge(
            "sightline_rollout_weight_percent",
            "Share of the requests that the target gets.",
            registry=self.registry,
        )
        self._verdicts = Counter(
            "sightline_rollout_verdicts",
            "Verdicts, one a look.",
            ["verdict"],
            registry=self.registry,
        )
        self._figures = Gauge(
            "sightline_rollout_figure",
            "Figures of the last verdict: of each comparison, and of the step.",
            ["comparison", "figure"],
            registry=self.registry,
        )
        self._looked = Gauge(
            "sightline_rollout_last_look_timestamp_seconds",
            "When both sides were last compared, in seconds since 1970.",
            registry=self.registry,
        )
        self._failures = Counter(
            "sightline_rollout_failures",
            "Looks that failed: the API or Prometheus did not answer.",
            ["what"],
            registry=self.registry,
        )
        self._leading = Gauge(
            "sightline_rollout_leading", "1 for the replica that acts.", registry=self.registry
        )
        self.metrics: tuple[Counter | Gauge, ...] = (
            self._phase,
            self._step,
            self._weight_percent,
            self._verdicts,
            self._figures,
            self._looked,
            self._failures,
            self._leading,
        )
        self.alive_at = time.monotonic()
        self.ready = False

    def lead(self) -> None:
        """Say that this replica acts; it is ready when it has taken a look."""
        self._leading.set(1)
        self.ready = False

    def beat(self) -> None:
        """Say that a look has ended, or that another replica takes them."""
        self.alive_at = time.monotonic()

    def failed(self, what: str) -> None:
        """Count a look that failed."""
        self._failures.labels(what).inc()

    def standing(self, record: Record) -> None:
        """Say where the rollout stands."""
        for each in PHASES:
            self._phase.labels(each).set(each == record.phase)
        self._step.set(record.state.step)
        self._weight_percent.set(record.weight_percent)

    def decided(self, decision: Decision) -> None:
        """Say what the last look came to."""
        self._verdicts.labels(decision.verdict.value).inc()
        self._looked.set(decision.state.observed_at_s)
        figures = decision.figures
        self._figures.clear()
        for name in ("elapsed_s", "primary_requests", "target_requests"):
            self._figures.labels("", name).set(getattr(figures, name))
        for comparison, found in figures.comparisons.items():
            for name in ("primary", "target", "effect", "margin", "evidence", "sample"):
                self._figures.labels(comparison, name).set(getattr(found, name))


class Door:
    """HTTP with `/metrics`, `/healthz` (looks are still taken) and `/readyz` (one has succeeded).

    Args:
        telemetry: what is told.
        port: 0 for any that is free.
        patience_s: how long no look may have ended for `/healthz` to fail.
    """

    def __init__(self, telemetry: Telemetry, port: int, patience_s: float = 300) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = 200, "text/plain", b"ok\n"
                if self.path == "/metrics":
                    kind, body = CONTENT_TYPE_LATEST, generate_latest(telemetry.registry)
                elif self.path == "/healthz":
                    if time.monotonic() - telemetry.alive_at > patience_s:
                        status, body = 503, b"no look has ended for too long\n"
                elif self.path == "/readyz":
                    if not telemetry.ready:
                        status, body = 503, b"no look has succeeded yet\n"
                else:
                    status, body = 404, b"accepted: /metrics, /healthz, /readyz\n"
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("", port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message and what `extra` had."""

    _KNOWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {k: v for k, v in record.__dict__.items() if k not in self._KNOWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
