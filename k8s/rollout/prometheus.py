"""What each side did, from the samples that Prometheus has of the predictor's counters."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx

from k8s.rollout.observation import Counts

# Of the predictor's metrics those that a decision needs: docs/metrics.md.
REQUESTS = "sightline_requests_total"
IMAGE_ERRORS = "sightline_image_errors_total"
PREDICTIONS = "sightline_predictions_total"
LATENCY = "sightline_stage_seconds"
CONFIDENCE = "sightline_confidence"
STARTED = "process_start_time_seconds"
METRICS = (
    REQUESTS,
    IMAGE_ERRORS,
    PREDICTIONS,
    f"{LATENCY}_bucket",
    f"{LATENCY}_sum",
    f"{CONFIDENCE}_bucket",
    STARTED,
)
ABSTENTION = "Indeterminate"
# A pod that has not been scraped for so long has no earlier totals.
LOOKBACK_S = 300
# Scrapes are a minute apart at most, as a rule.
LATE_S = 120

Labels = dict[str, str]
Samples = list[tuple[float, float]]


class MetricsError(Exception):
    """Prometheus did not answer, or not with what was asked for."""


class NotYetError(MetricsError):
    """There are samples, but none since the last look."""


@dataclass(frozen=True)
class Series:
    """The samples of one series, oldest first."""

    labels: Labels
    samples: Samples

    @property
    def instance(self) -> tuple[str, str]:
        return self.labels.get("pod", ""), self.labels.get("instance", "")


class Prometheus:
    """Samples from Prometheus' HTTP API.

    Args:
        address: such as `http://prometheus-operated.monitoring:9090`.
        token: sent as `Authorization: Bearer`, if there is one.
    """

    def __init__(self, address: str, token: str = "", timeout_s: float = 10) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(
            base_url=address.rstrip("/") + "/", headers=headers, timeout=timeout_s
        )

    def counts(self, matching: str, since_s: float, until_s: float) -> Counts:
        """What the pods that match did after one time and until another.

        Samples are taken as they are. `increase` would stretch them to the ends of the range, and
        the tests count requests, not estimates of them.

        Args:
            matching: label matchers, such as `namespace="models",pod=~"cxr-.*"`.
            since_s: seconds since 1970.
            until_s: seconds since 1970.

        Raises:
            NotYetError: the pods have not been scraped in that time, but shortly before.
            MetricsError: Prometheus did not answer; or no such pod has been scraped for long.
        """
        series = self._samples(matching, since_s, until_s)
        started = [each for each in series if each.labels["__name__"] == STARTED]
        latest_s = max((each.samples[-1][0] for each in started if each.samples), default=0.0)
        if latest_s <= since_s:
            error = NotYetError if until_s - latest_s < LATE_S else MetricsError
            raise error(f"Prometheus has no samples of {{{matching}}} after {since_s:.0f}")
        return counted(series, since_s)

    def close(self) -> None:
        self._client.close()

    def _samples(self, matching: str, since_s: float, until_s: float) -> list[Series]:
        names = "|".join(METRICS)
        range_s = math.ceil(until_s - since_s) + LOOKBACK_S
        query = f'{{__name__=~"{names}",{matching}}}[{range_s}s]'
        try:
            response = self._client.post("api/v1/query", data={"query": query, "time": until_s})
            answer: dict[str, Any] = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise MetricsError(f"Prometheus did not answer: {error}") from error
        if answer.get("status") != "success":
            said = answer.get("error", response.status_code)
            raise MetricsError(f"Prometheus refused {query}: {said}")
        return [
            Series(each["metric"], [(float(at), float(value)) for at, value in each["values"]])
            for each in answer["data"]["result"]
        ]


def counted(series: Iterable[Series], since_s: float) -> Counts:
    """Add up what each series rose by after a time.

    A series begins at 0 unless its pod was there before and has been scraped only since then: of
    such a pod nobody knows what it had counted by that time. A pod that is gone says nothing, and
    its buckets, which may have been others, do not either.
    """
    series = [each for each in series if each.samples and each.samples[-1][0] > since_s]
    unknown = {
        each.instance
        for each in series
        if each.labels["__name__"] == STARTED
        and each.samples[0][0] > since_s
        and each.samples[0][1] < since_s
    }
    rises: dict[str, list[tuple[Labels, float]]] = defaultdict(list)
    for each in series:
        known = each.instance not in unknown
        rises[each.labels["__name__"]].append((each.labels, rise(each.samples, since_s, known)))
    requests = rises[REQUESTS]
    classes: dict[str, float] = defaultdict(float)
    for labels, value in rises[PREDICTIONS]:
        classes[labels["class"]] += value
    totals = [pair for pair in rises[f"{LATENCY}_bucket"] if pair[0]["stage"] == "total"]
    latency_bounds_s, latency = histogram(totals)
    confidence_bounds, confidence = histogram(rises[f"{CONFIDENCE}_bucket"])
    return Counts(
        requests=sum(value for _, value in requests),
        errors=sum(value for labels, value in requests if _failed(labels["status"])),
        decode_failures=sum(value for _, value in rises[IMAGE_ERRORS]),
        latency_bounds_s=latency_bounds_s,
        latency=latency,
        latency_sum_s=sum(v for labels, v in rises[f"{LATENCY}_sum"] if labels["stage"] == "total"),
        images=sum(classes.values()),
        classes=dict(classes),
        confidence_bounds=confidence_bounds,
        confidence=confidence,
        abstained=sum(v for labels, v in rises[PREDICTIONS] if labels["risk"] == ABSTENTION),
    )


def _failed(status: str) -> bool:
    """Whether it was not the client's fault, as the rules and dashboards count it."""
    return status.startswith("5") or status == "429"


def rise(samples: Samples, since_s: float, begins_at_zero: bool) -> float:
    """How much a counter rose after a time; one that falls has begun anew at 0."""
    before = [value for at, value in samples if at <= since_s]
    after = [value for at, value in samples if at > since_s]
    if before:
        last = before[-1]
    elif begins_at_zero or not after:
        last = 0.0
    else:
        last = after[0]
    risen = 0.0
    for value in after:
        risen += value - last if value >= last else value
        last = value
    return risen


def histogram(
    rises: Iterable[tuple[Mapping[str, str], float]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Bounds without infinity, and the count of each bucket by itself: Prometheus adds them up."""
    cumulative: dict[float, float] = defaultdict(float)
    for labels, value in rises:
        cumulative[float(labels["le"])] += value
    bounds = tuple(sorted(cumulative))
    if not bounds:
        return (), ()
    totals = [0.0, *(cumulative[bound] for bound in bounds)]
    alone = tuple(max(0.0, b - a) for a, b in pairwise(totals))
    return bounds[:-1], alone
