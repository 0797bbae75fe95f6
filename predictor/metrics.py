"""What Prometheus scrapes. KServe's `/metrics` shows the default registry, and so all of these."""

from collections.abc import Callable, Sequence

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from predictor.answer import Answer, Timings

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_IMAGES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256)
_TENTHS = tuple(tenth / 20 for tenth in range(1, 21))


class Metrics:
    """Every metric of the predictor, in one registry.

    Args:
        registry: where they are registered; a private one in tests.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Counter(
            "sightline_requests",
            "Inference requests, by HTTP status; a gRPC code counts as its HTTP counterpart.",
            ["protocol", "verb", "status", "version"],
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "sightline_stage_seconds",
            "Seconds of an answered request in a stage: decode, queue, infer, encode and total.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.images = Counter(
            "sightline_images",
            "Images that came to a stage: admitted, decoded, inferred, drawn, answered.",
            ["stage"],
            registry=registry,
        )
        self.batch_size = Histogram(
            "sightline_batch_size",
            "Images that the engine was given at once.",
            buckets=_IMAGES,
            registry=registry,
        )
        self.queue_depth = Gauge(
            "sightline_queue_depth", "Decoded images waiting for the engine.", registry=registry
        )
        self.admitted_images = Gauge(
            "sightline_admitted_images",
            "Images waiting and being worked on, at any stage.",
            registry=registry,
        )
        self.admitted_images_limit = Gauge(
            "sightline_admitted_images_limit",
            "Most images that may wait and be worked on: max_queue.",
            registry=registry,
        )
        self.upload_bytes = Gauge(
            "sightline_upload_bytes",
            "Bytes that the bodies of all requests hold.",
            registry=registry,
        )
        self.upload_limit_bytes = Gauge(
            "sightline_upload_limit_bytes",
            "Most bytes that the bodies of all requests may hold: max_upload_bytes.",
            registry=registry,
        )
        self.connections = Gauge(
            "sightline_connections", "Open HTTP connections.", registry=registry
        )
        self.connections_limit = Gauge(
            "sightline_connections_limit",
            "Most HTTP connections that may be open: max_connections.",
            registry=registry,
        )
        self.connections_closed = Counter(
            "sightline_connections_closed",
            "HTTP connections closed for what their client did not do, or for their number.",
            ["reason"],
            registry=registry,
        )
        self.ready = Gauge(
            "sightline_ready", "1 while the server is ready, else 0.", registry=registry
        )
        self.inflight = Gauge("sightline_inflight", "Requests being worked on.", registry=registry)
        self.inflight_limit = Gauge(
            "sightline_inflight_limit",
            "Most requests that may be read and worked on: max_requests.",
            registry=registry,
        )
        self.predictions = Counter(
            "sightline_predictions",
            "Images answered, by predicted class and stated risk.",
            ["class", "risk"],
            registry=registry,
        )
        self.confidence = Histogram(
            "sightline_confidence",
            "Calibrated probability of the predicted class.",
            buckets=_TENTHS,
            registry=registry,
        )
        self.explanations = Counter(
            "sightline_explanations",
            "Images answered with a class activation map or an overlay.",
            registry=registry,
        )
        self.image_errors = Counter(
            "sightline_image_errors",
            "Requests refused for an image that cannot be read.",
            ["reason"],
            registry=registry,
        )
        self.rejections = Counter(
            "sightline_rejections",
            "Requests not answered for any other reason.",
            ["reason"],
            registry=registry,
        )
        self.request_log_dropped = Counter(
            "sightline_request_log_dropped",
            "Lines that the request log could not take or write.",
            registry=registry,
        )
        self.model_info = Gauge(
            "sightline_model_info",
            "1 for the model that is served.",
            ["name", "version", "engine", "precision", "device", "digest"],
            registry=registry,
        )
        self.selftest_passed = Gauge(
            "sightline_selftest_passed",
            "1 if engine and artefact reproduced the reference answers at start, else 0.",
            ["engine", "precision", "device"],
            registry=registry,
        )
        self.selftest_timestamp = Gauge(
            "sightline_selftest_timestamp_seconds",
            "When the engine that serves passed its self-test, in seconds since 1970.",
            registry=registry,
        )
        self.selftest_difference = Gauge(
            "sightline_selftest_difference",
            "Largest difference from the reference answers at start.",
            ["engine", "precision", "device", "output"],
            registry=registry,
        )
        self.engine_images_per_second = Gauge(
            "sightline_engine_images_per_second",
            "Speed measured at start.",
            ["engine", "precision", "device", "batch"],
            registry=registry,
        )
        self.answer_cache_lookups = Counter(
            "sightline_answer_cache_lookups",
            "Images looked up in the answer cache: hit or miss.",
            ["result"],
            registry=registry,
        )
        self.answer_cache_bytes = Gauge(
            "sightline_answer_cache_bytes",
            "Bytes of the answers kept in the answer cache.",
            registry=registry,
        )

    def stage(self, stage: str) -> None:
        """Count an image."""
        self.images.labels(stage).inc()

    def batch(self, size: int) -> None:
        """Count a batch that the engine is given."""
        self.batch_size.observe(size)
        self.images.labels("inferred").inc(size)

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Read the queue's depth whenever it is scraped."""
        self.queue_depth.set_function(depth)

    def answered(self, answers: Sequence[Answer], timings: Timings, total_s: float) -> None:
        """Count an answered request's images and stages."""
        self.images.labels("answered").inc(len(answers))
        for answer in answers:
            self.predictions.labels(answer.label, answer.risk).inc()
            self.confidence.observe(answer.confidence)
            if answer.explained_class is not None:
                self.explanations.inc()
        if timings.begun is not None:
            for stage, seconds in timings.stages().items():
                self.stage_seconds.labels(stage).observe(seconds)
        self.stage_seconds.labels("total").observe(total_s)
