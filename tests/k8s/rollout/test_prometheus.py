"""Counts as a real Prometheus has them of pods that come, go and begin anew."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from k8s.rollout.observation import Counts
from k8s.rollout.prometheus import (
    ABSTENTION,
    METRICS,
    STARTED,
    MetricsError,
    NotYetError,
    Prometheus,
    Series,
    counted,
    rise,
)
from model.decision import INDETERMINATE
from predictor.metrics import Metrics
from tests.monitoring.programs import Prometheus as Running
from tests.monitoring.programs import Target
from tests.predictor.servers import free_ports

PRIMARY, TARGET = (
    'serving_kserve_io_inferenceservice="cxr-primary"',
    'serving_kserve_io_inferenceservice="cxr"',
)


class Pod:
    """The predictor's own metrics behind an address, and when its process started."""

    def __init__(self, service: str, name: str, port: int) -> None:
        self.labels = {
            "namespace": "models",
            "pod": name,
            "serving_kserve_io_inferenceservice": service,
        }
        self.address = f"127.0.0.1:{port}"
        self._port = port
        self.begin()

    def begin(self) -> None:
        """A process with all counters at 0."""
        registry = CollectorRegistry()
        self.metrics = Metrics(registry)
        started = Gauge(STARTED, "As the client library has it.", registry=registry)
        started.set(time.time())
        self._server, self._thread = start_http_server(self._port, "127.0.0.1", registry)

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(
        self, count: int, label: str, confidence: float, total_s: float, risk: str = "Low"
    ) -> None:
        for _ in range(count):
            self.metrics.predictions.labels(label, risk).inc()
            self.metrics.confidence.observe(confidence)
            self.metrics.stage_seconds.labels("total").observe(total_s)
            self.metrics.stage_seconds.labels("infer").observe(total_s / 2)
            # Last: what waits for the number of requests has seen the rest, too.
            self.metrics.requests.labels("v2", "infer", "200", "1").inc()

    def fail(self, count: int, status: str) -> None:
        self.metrics.requests.labels("v2", "infer", status, "1").inc(count)


class Server(Running):
    """A real Prometheus that scrapes the pods."""

    def __init__(self, folder: Path, pods: list[Pod]) -> None:
        super().__init__(folder, [Target(pod.address, pod.labels) for pod in pods], {})

    def until(self, query: str, value: float) -> float:
        """Wait until a query has a value, and return when."""
        self.wait_until(f"{query} == {value}", f"{query} is {value}")
        return time.time()


def asked(server: Server, matching: str, since_s: float, until_s: float) -> Counts:
    with closing(Prometheus(server.address)) as prometheus:
        return prometheus.counts(matching, since_s, until_s)


@contextmanager
def scraped(folder: Path, pods: list[Pod]) -> Iterator[Server]:
    try:
        with Server(folder, pods) as server:
            yield server
    finally:
        for pod in pods:
            pod.end()


def test_counts_come_back_as_they_were_made_and_each_side_has_its_own(tmp_path: Path) -> None:
    one, two, three = free_ports(3)
    first, second = Pod("cxr-primary", "a", one), Pod("cxr-primary", "b", two)
    other = Pod("cxr", "c", three)
    first.answer(5, "normal", 0.99, 0.02)
    with scraped(tmp_path, [first, second, other]) as server:
        server.until(f"count({STARTED})", 3)
        since_s = server.until("sum(sightline_requests_total)", 5)
        first.answer(30, "normal", 0.99, 0.02)
        first.answer(10, "nodule", 0.62, 0.3, INDETERMINATE)
        second.answer(20, "nodule", 0.88, 0.02)
        second.fail(3, "500")
        second.fail(2, "503")
        second.fail(4, "429")
        second.metrics.image_errors.labels("corrupt").inc(6)
        second.fail(6, "400")
        other.answer(7, "normal", 0.7, 0.02)
        until_s = server.until("sum(sightline_requests_total)", 5 + 60 + 15 + 7)
        primary = asked(server, f'namespace="models",{PRIMARY}', since_s, until_s)
        target = asked(server, f'namespace="models",{TARGET}', since_s, until_s)
    assert (primary.requests, primary.errors, primary.decode_failures) == (75, 9, 6)
    assert (primary.images, primary.abstained) == (60, 10)
    assert primary.classes == {"normal": 30, "nodule": 30}
    assert sum(primary.latency) == 60
    assert dict(zip(primary.latency_bounds_s, primary.latency, strict=False))[0.025] == 50
    assert primary.latency_sum_s == pytest.approx(50 * 0.02 + 10 * 0.3)
    assert sum(primary.confidence) == 60
    assert len(primary.confidence) == len(primary.confidence_bounds) + 1
    assert (target.requests, target.images, target.classes) == (7, 7, {"normal": 7})
    assert primary.latency_bounds_s == target.latency_bounds_s


def test_a_pod_that_begins_anew_is_counted_from_nothing_and_nothing_twice(tmp_path: Path) -> None:
    pod = Pod("cxr", "a", free_ports(1)[0])
    pod.answer(40, "normal", 0.9, 0.02)
    with scraped(tmp_path, [pod]) as server:
        since_s = server.until("sum(sightline_requests_total)", 40)
        pod.answer(10, "normal", 0.9, 0.02)
        server.until("sum(sightline_requests_total)", 50)
        pod.end()
        pod.begin()
        pod.answer(7, "normal", 0.9, 0.02)
        until_s = server.until("sum(sightline_requests_total)", 7)
        counts = asked(server, TARGET, since_s, until_s)
        pod.answer(3, "normal", 0.9, 0.02)
        later_s = server.until("sum(sightline_requests_total)", 10)
        rest = asked(server, TARGET, until_s, later_s)
    assert counts.requests == 17
    assert rest.requests == 3


def test_nobody_scraped_a_server_that_is_away_and_a_refused_query_are_told(tmp_path: Path) -> None:
    pod = Pod("cxr", "a", free_ports(1)[0])
    with scraped(tmp_path, [pod]) as server:
        now_s = server.until("sum(sightline_inflight)", 0)
        with pytest.raises(MetricsError, match="no samples"):
            asked(server, PRIMARY, now_s - 10, now_s)
        with pytest.raises(NotYetError, match="no samples"):
            asked(server, TARGET, now_s + 90, now_s + 100)
        with pytest.raises(MetricsError, match="no samples") as late:
            asked(server, TARGET, now_s + 190, now_s + 200)
        assert not isinstance(late.value, NotYetError)
        with pytest.raises(MetricsError, match="refused"):
            asked(server, "cxr", now_s - 10, now_s)
    with pytest.raises(MetricsError, match="did not answer"):
        asked(server, TARGET, now_s - 10, now_s)


def test_a_full_house_fails_its_clients_and_a_client_that_errs_or_leaves_does_not() -> None:
    ended = {"200": 90, "400": 3, "413": 2, "429": 5, "499": 4, "500": 1, "503": 6, "504": 7}
    requests = [
        series("sightline_requests_total", (90, 0), (110, count), status=status)
        for status, count in ended.items()
    ]
    counts = counted(requests, 100)
    assert (counts.requests, counts.errors) == (118, 5 + 1 + 6 + 7)


def series(name: str, *samples: tuple[float, float], **labels: str) -> Series:
    return Series({"__name__": name, "pod": "a", **labels}, list(samples))


def test_a_pod_that_nobody_scraped_before_counts_only_if_it_is_young() -> None:
    requests = series("sightline_requests_total", (110, 70), (120, 75), status="200")
    old = series(STARTED, (110, 50), (120, 50))
    young = series(STARTED, (110, 105), (120, 105))
    known = series(STARTED, (90, 50), (110, 50))
    assert counted([requests, old], 100).requests == 5
    assert counted([requests, young], 100).requests == 75
    # The pod was scraped before, and the status is new.
    assert counted([requests, known], 100).requests == 75


def test_a_pod_that_is_gone_leaves_no_buckets_behind() -> None:
    name = "sightline_stage_seconds_bucket"
    gone = [series(name, (80, 5), (90, 5), stage="total", le=le) for le in ("0.3", "+Inf")]
    here = [series(name, (90, 1), (110, 4), stage="total", le=le) for le in ("0.5", "+Inf")]
    counts = counted(gone + here, 100)
    assert (counts.latency_bounds_s, counts.latency) == ((0.5,), (3, 0))


@pytest.mark.parametrize(
    ("samples", "risen"),
    [
        ([(90, 5), (110, 5)], 0),
        ([(90, 5), (110, 9)], 4),
        ([(90, 5), (95, 7), (110, 9)], 2),
        ([(90, 5), (110, 2), (120, 3)], 3),
        ([(110, 4)], 4),
        ([(90, 4)], 0),
        ([], 0),
    ],
)
def test_a_rise_is_from_the_last_sample_before(
    samples: list[tuple[float, float]], risen: float
) -> None:
    assert rise(samples, 100, begins_at_zero=True) == risen


def test_what_is_asked_for_is_what_the_predictor_has() -> None:
    """A metric that is renamed there fails here."""
    registry = CollectorRegistry()
    Metrics(registry)
    theirs = {sample for metric in registry.collect() for sample in names(metric.name, metric.type)}
    assert set(METRICS) - {STARTED} <= theirs
    assert ABSTENTION == INDETERMINATE


def names(name: str, kind: str) -> list[str]:
    if kind == "histogram":
        return [f"{name}_bucket", f"{name}_sum"]
    return [f"{name}_total"] if kind == "counter" else [name]
