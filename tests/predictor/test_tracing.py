"""Traces as a collector receives them: a real server sends OTLP to a small receiver here."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from model.bundle import Bundle
from predictor.tracing import tracing_of
from tests.predictor.bundles import png
from tests.predictor.servers import ROOT, RunningServer

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Takes down the spans of every OTLP request."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                request = ExportTraceServiceRequest.FromString(body)
                for each in request.resource_spans:
                    collector.resources.append(each.resource)
                    collector.spans += [span for scope in each.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def values(attributes: Any) -> dict[str, object]:
    return {each.key: each.value.int_value or each.value.string_value for each in attributes}


def test_a_request_is_a_span_with_its_stages_below_the_caller_s(
    bundle: Bundle, collector: Collector, pictures: npt.NDArray[np.uint8]
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    arguments = ["--bundle", str(bundle.path), "--engine", "onnxruntime"]
    with RunningServer(arguments, environment) as server:
        server.wait_until_ready()
        path, headers = f"{server.url}/v1/models/tiny:explain", {"content-type": "image/png"}
        caller = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "r-1"}
        before = time.time_ns()
        good = httpx.post(path, content=png(pictures[0]), headers=headers | caller)
        assert good.status_code == 200
        assert httpx.post(path, content=b"x", headers=headers).status_code == 415
        server.terminate()
        assert server.wait() == 0, "what waits is sent before the end"
        lines = [entry for entry in server.log_entries() if entry["event"] == "request"]
    answered, refused = collector.named("v1 explain")
    assert (answered.trace_id.hex(), answered.parent_span_id.hex()) == (TRACE, PARENT)
    assert [line["trace_id"] for line in lines] == [TRACE, refused.trace_id.hex()]
    assert (refused.trace_id != answered.trace_id, refused.parent_span_id) == (True, b"")
    assert values(answered.attributes) == {
        "http.response.status_code": 200,
        "sightline.request_id": "r-1",
        "sightline.model.name": "tiny",
        "sightline.model.version": bundle.digest[:12],
        "sightline.images": 1,
    }
    assert values(refused.attributes)["error.type"] == "unsupported"
    assert before <= answered.start_time_unix_nano <= answered.end_time_unix_nano <= time.time_ns()
    begin = answered.start_time_unix_nano
    for stage in ("decode", "queue", "infer", "encode"):
        (span,) = collector.named(stage)
        assert (span.trace_id, span.parent_span_id) == (answered.trace_id, answered.span_id)
        assert begin <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= answered.end_time_unix_nano
        begin = span.start_time_unix_nano
    assert values(collector.resources[0].attributes)["service.name"] == "sightline"


def test_without_the_variables_nothing_of_it_is_imported() -> None:
    code = """
import os, sys
from predictor.__main__ import build_parser
from predictor.tracing import tracing_of
assert tracing_of({k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}) is None
print([name for name in sys.modules if name.startswith("opentelemetry.")
       and name.split(".")[1] in ("sdk", "exporter", "proto")])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_traces_are_off_unless_they_are_asked_for_in_a_form_that_can_be_sent(
    environment: dict[str, str],
) -> None:
    assert tracing_of(environment) is None


def test_a_collector_that_is_gone_holds_up_nothing(
    bundle: Bundle, pictures: npt.NDArray[np.uint8]
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    arguments = ["--bundle", str(bundle.path), "--engine", "onnxruntime"]
    with RunningServer(arguments, environment) as server:
        server.wait_until_ready()
        answer = httpx.post(
            f"{server.url}/v1/models/tiny:predict",
            content=png(pictures[0]),
            headers={"content-type": "image/png"},
        )
        assert answer.status_code == 200
        server.terminate()
        assert server.wait() == 0
