"""What was seen of the two sides of a rollout."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SCALARS = ("requests", "errors", "decode_failures", "latency_sum_s", "images", "abstained")


@dataclass(frozen=True, slots=True)
class Counts:
    """What one side did: totals of a pod's counters, or how far they moved in some time.

    Attributes:
        requests: inference requests that ended, whatever their status.
        errors: those of them that ended with 5xx, 503 and 504 included, or with 429: the house was
            full, which no client is to blame for.
        decode_failures: those of them refused because an image could not be read.
        latency_bounds_s: ascending upper bounds of the latency buckets, without infinity.
        latency: answered requests in each bucket by itself, one more than bounds: the last has
            no upper bound. Prometheus's buckets are cumulative: take their differences.
        latency_sum_s: seconds that all of these took together.
        images: images answered.
        classes: images by the key of the class they were answered with.
        confidence_bounds: ascending upper bounds of the confidence buckets, without infinity.
        confidence: images in each of them by itself, one more than bounds.
        abstained: images answered with `Indeterminate`.
    """

    requests: float = 0
    errors: float = 0
    decode_failures: float = 0
    latency_bounds_s: tuple[float, ...] = ()
    latency: tuple[float, ...] = ()
    latency_sum_s: float = 0
    images: float = 0
    classes: Mapping[str, float] = field(default_factory=dict)
    confidence_bounds: tuple[float, ...] = ()
    confidence: tuple[float, ...] = ()
    abstained: float = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Both together.

        Raises:
            ValueError: their buckets differ.
        """
        classes = dict(self.classes)
        for key, count in other.classes.items():
            classes[key] = classes.get(key, 0) + count
        bounds_s, latency = _sum(
            "latency_bounds_s",
            (self.latency_bounds_s, self.latency),
            (other.latency_bounds_s, other.latency),
        )
        bounds, confidence = _sum(
            "confidence_bounds",
            (self.confidence_bounds, self.confidence),
            (other.confidence_bounds, other.confidence),
        )
        return Counts(
            self.requests + other.requests,
            self.errors + other.errors,
            self.decode_failures + other.decode_failures,
            bounds_s,
            latency,
            self.latency_sum_s + other.latency_sum_s,
            self.images + other.images,
            classes,
            bounds,
            confidence,
            self.abstained + other.abstained,
        )

    def since(self, earlier: "Counts") -> "Counts":
        """What came after earlier totals of the same pod.

        A counter that is now below its earlier value began anew at 0, so all of it came after:
        each counter by itself, as Prometheus's `increase` does. Sum over pods afterwards, because
        the fall of one would be hidden by the others' rise.
        """
        return Counts(
            **{name: _rise(getattr(self, name), getattr(earlier, name)) for name in SCALARS},
            latency_bounds_s=self.latency_bounds_s,
            latency=_rises(
                (self.latency_bounds_s, self.latency), (earlier.latency_bounds_s, earlier.latency)
            ),
            classes={k: _rise(v, earlier.classes.get(k, 0)) for k, v in self.classes.items()},
            confidence_bounds=self.confidence_bounds,
            confidence=_rises(
                (self.confidence_bounds, self.confidence),
                (earlier.confidence_bounds, earlier.confidence),
            ),
        )


@dataclass(frozen=True, slots=True)
class Observation:
    """Both sides at one time.

    Attributes:
        at_s: when, in seconds since 1970.
        primary: what the model in production did after `State.observed_at_s` and until `at_s`.
        target: the same of the new model.
        target_ready: the new model takes requests.
        target_gone: its object was deleted.
        metrics_available: both `Counts` could be had. If not, they are ignored, and what happened
            meanwhile belongs to the next observation that has them.
    """

    at_s: float
    primary: Counts = field(default_factory=Counts)
    target: Counts = field(default_factory=Counts)
    target_ready: bool = True
    target_gone: bool = False
    metrics_available: bool = True


_Histogram = tuple[tuple[float, ...], tuple[float, ...]]


def _sum(name: str, one: _Histogram, other: _Histogram) -> _Histogram:
    if not other[1]:
        return one
    if not one[1]:
        return other
    if one[0] != other[0]:
        raise ValueError(f"{name} {one[0]} and {other[0]} differ: both sides need the same buckets")
    return one[0], tuple(a + b for a, b in zip(one[1], other[1], strict=True))


def _rise(now: float, earlier: float) -> float:
    return now - earlier if now >= earlier else now


def _rises(now: _Histogram, earlier: _Histogram) -> tuple[float, ...]:
    if now[0] != earlier[0] or sum(now[1]) < sum(earlier[1]):
        return now[1]
    return tuple(max(0.0, a - b) for a, b in zip(now[1], earlier[1], strict=True))
