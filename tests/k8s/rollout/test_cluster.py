"""Requests as they go out, to a server that is none of Kubernetes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.rollout.cluster import (
    CONFIG_MAP,
    HTTP_ROUTE,
    ApiError,
    Cluster,
    ConflictError,
    KubernetesTransport,
)

Request = tuple[str, str, str, Any]


class Api:
    """Answers every request alike, and keeps them."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.server = server
        self.requests: list[Request] = []
        self.status = 200


@contextmanager
def serving() -> Iterator[Api]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            kind = self.headers.get("Content-Type", "")
            answering.requests.append((self.command, self.path, kind, body))
            answer = b'{"metadata": {"resourceVersion": "7"}}'
            self.send_response(answering.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_GET(self) -> None:
            self.handle_any()

        def do_POST(self) -> None:
            self.handle_any()

        def do_PATCH(self) -> None:
            self.handle_any()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answering = Api(server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield answering
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        yield found


@pytest.fixture
def cluster(api: Api, tmp_path: Path) -> Cluster:
    address = f"http://127.0.0.1:{api.server.server_port}"
    configuration = {
        "current-context": "a",
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(configuration))
    return Cluster(KubernetesTransport(kubeconfig=file), "models")


def test_an_apply_takes_fields_over_under_a_name_of_its_own(cluster: Cluster, api: Api) -> None:
    cluster.apply(HTTP_ROUTE, "cxr-route", {"spec": {"rules": []}})
    ((method, path, kind, body),) = api.requests
    assert method == "PATCH"
    place = "/apis/gateway.networking.k8s.io/v1/namespaces/models/httproutes/cxr-route"
    assert path == f"{place}?fieldManager=sightline-rollout&force=true"
    assert kind == "application/apply-patch+yaml"
    assert body["kind"] == "HTTPRoute"
    assert body["metadata"] == {"name": "cxr-route", "namespace": "models"}


def test_a_merge_removes_what_is_null(cluster: Cluster, api: Api) -> None:
    cluster.merge(CONFIG_MAP, "a", {"metadata": {"annotations": {"x": None}}})
    ((_, path, kind, body),) = api.requests
    assert path.startswith("/api/v1/namespaces/models/configmaps/a?")
    assert kind == "application/merge-patch+json"
    assert body == {"metadata": {"annotations": {"x": None}}}


def test_an_event_says_what_it_is_about(cluster: Cluster, api: Api) -> None:
    about = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "1"}}
    cluster.tell(about, "VerdictRollback", "why", warning=True)
    ((method, _, kind, body),) = api.requests
    assert (method, kind) == ("POST", "application/json")
    assert body["involvedObject"]["uid"] == "1"
    assert (body["type"], body["reason"], body["message"]) == ("Warning", "VerdictRollback", "why")


def test_what_is_missing_is_none_and_what_is_refused_says_why(cluster: Cluster, api: Api) -> None:
    api.status = 404
    assert cluster.get(CONFIG_MAP, "a") is None
    assert cluster.merge(CONFIG_MAP, "a", {}) is None
    with pytest.raises(ApiError, match="404"):
        cluster.apply(CONFIG_MAP, "a", {})
    api.status = 409
    with pytest.raises(ConflictError):
        cluster.apply(CONFIG_MAP, "a", {})
    api.status = 403
    with pytest.raises(ApiError, match="configmaps/a was answered with 403") as refused:
        cluster.get(CONFIG_MAP, "a")
    assert refused.value.status == 403


def test_an_api_that_does_not_answer_is_an_error_that_the_next_look_makes_good(
    cluster: Cluster, api: Api
) -> None:
    api.server.server_close()
    with pytest.raises(ApiError, match="GET /api/v1"):
        cluster.get(CONFIG_MAP, "a")
