"""OpenTelemetry traces of requests and their stages, if the standard variables ask for them.

Without OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_TRACES_EXPORTER=otlp
nothing of OpenTelemetry's SDK is imported. With one of them it reads the other variables by
itself: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER ...
"""

import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from predictor.answer import Timings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

LOGGER = logging.getLogger("sightline.tracing")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_CLOSE_S = 5.0
_SERVER_ERROR = 500


class Tracing:
    """Sends a span per request, and one per stage below it.

    Spans are made when the request has ended, from the times that it has taken down anyway: a
    request costs nothing for them while it is answered.

    Args:
        provider: of the SDK, with its exporter.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("sightline")
        self._propagator = TraceContextTextMapPropagator()

    def record(
        self,
        name: str,
        headers: Mapping[str, str],
        started: float,
        attributes: Mapping[str, str | int],
        timings: Timings | None,
    ) -> str:
        """Send the spans of a request that ends now.

        Args:
            name: of the request's span.
            headers: where a W3C traceparent may stand, whose trace is taken over.
            started: `time.monotonic()` at its beginning.
            attributes: of the request's span.
            timings: of its stages, if it was answered.

        Returns:
            The trace id, 32 hexadecimal digits.
        """
        now_s, now_ns = time.monotonic(), time.time_ns()

        def wall(moment: float) -> int:
            return now_ns - int((now_s - moment) * 1e9)

        trace = self._trace
        parent = self._propagator.extract(
            {key: headers[key] for key in ("traceparent", "tracestate") if key in headers}
        )
        span = self._tracer.start_span(
            name,
            parent,
            trace.SpanKind.SERVER,
            attributes=dict(attributes),
            start_time=wall(started),
        )
        if int(attributes.get("http.response.status_code", 0)) >= _SERVER_ERROR:
            span.set_status(trace.StatusCode.ERROR)
        if timings is not None and timings.begun is not None:
            inside = trace.set_span_in_context(span)
            begin = timings.begun
            for stage, seconds in timings.stages().items():
                end = begin + seconds
                child = self._tracer.start_span(stage, inside, start_time=wall(begin))
                child.end(wall(end))
                begin = end
        span.end(now_ns)
        return str(trace.format_trace_id(span.get_span_context().trace_id))

    def close(self) -> None:
        """Send what waits, as far as the collector takes it within seconds."""
        # The SDK would wait half a minute for a collector that is gone.
        thread = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        thread.start()
        thread.join(_CLOSE_S)


def tracing_of(environment: Mapping[str, str]) -> Tracing | None:
    """What the standard variables ask for; None if that is nothing, or cannot be given.

    Traces that cannot be sent are a warning: they are no reason not to serve.
    """
    if not _wanted(environment):
        return None
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "")
    if protocol not in ("", "http/protobuf"):
        data = {"protocol": protocol, "accepted": "http/protobuf"}
        LOGGER.warning("no traces: OTEL_EXPORTER_OTLP_PROTOCOL", extra={"data": data})
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        LOGGER.warning("no traces: a library is missing", extra={"data": {"name": error.name}})
        return None
    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    resource = Resource.create({} if named else {"service.name": "sightline"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    LOGGER.info("traces are sent", extra={"data": {"protocol": "http/protobuf"}})
    return Tracing(provider)


def _wanted(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter:
        return "otlp" in exporter.split(",")
    return any(environment.get(name) for name in _ENDPOINTS)
