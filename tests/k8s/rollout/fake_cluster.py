"""A fake of the API and of KServe in Standard mode, only as good as the analyst's logic needs.

What a real API server makes of an apply, a merge and a version, and what KServe makes of an
InferenceService, is asked of the real ones in tests/cluster.
"""

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

from k8s.rollout.cluster import Cluster
from k8s.rollout.names import Names
from k8s.rollout.observation import Counts
from k8s.rollout.settings import Source

Object = dict[str, Any]
NAMES = Names("cxr")
NAMESPACE = "models"
STOP = "serving.kserve.io/stop"
BOUNDS_S = (0.01, 0.05, 0.1)


class KilledError(BaseException):
    """What SIGKILL looks like from within: nothing after it happens."""


class FakeApi:
    """Objects by path, and the little that the analyst asks for."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.events: list[Object] = []
        self.calls = 0
        self.writes: list[str] = []
        self.before: Callable[[int], None] = lambda number: None

    def __call__(
        self, method: str, path: str, query: Mapping[str, str], body: str, content_type: str
    ) -> tuple[int, bytes]:
        self.before(self.calls)
        self.calls += 1
        content = json.loads(body) if body else {}
        if method == "POST":
            self.events.append(content)
            return 201, b"{}"
        live = self.objects.get(path)
        if method == "GET":
            return (404, b"{}") if live is None else (200, json.dumps(live).encode())
        if live is None and "merge" in content_type:
            return 404, b"{}"
        version = content.get("metadata", {}).get("resourceVersion")
        if version is not None and (live is None or version != live["metadata"]["resourceVersion"]):
            return 409, b"the object has been modified"
        merged = merge(live or {"metadata": {"resourceVersion": "0", "uid": path}}, content)
        if merged != live:
            self.writes.append(path.rsplit("/", 1)[1])
            number = int(merged["metadata"]["resourceVersion"]) + 1
            merged["metadata"]["resourceVersion"] = str(number)
        self.objects[path] = merged
        return 200, json.dumps(merged).encode()


def merge(live: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    found = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merge(found.get(key), value)
    return found


def service_path(name: str) -> str:
    return f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/{name}"


def deployment_path(name: str) -> str:
    return f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}-predictor"


ROUTE = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes/{NAMES.route}"
ANALYST = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAMES.analyst}"
RECORD = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAMES.record}"


class World:
    """A namespace with the chart's objects, a clock, KServe, pods and requests.

    Attributes:
        broken: models whose pods never become ready.
        failing: models that answer so large a share with 500.
        rate: requests in a second, of both sides together.
    """

    def __init__(
        self, policy: Mapping[str, Any], settings: Mapping[str, Any] | None = None
    ) -> None:
        self.api = FakeApi()
        self.now_s = 1_000_000.0
        self.broken: set[str] = set()
        self.failing: dict[str, float] = {}
        self.rate = 20.0
        self.prometheus_up = True
        # Scrapes are so far apart; 0: one is just before each look.
        self.scrape_s = 0.0
        # An autoscaler has asked for a second pod, which is not there yet.
        self.scaling = False
        self.replicas: dict[str, int] = {}
        # Requests that went to nobody, or to a side without pods.
        self.lost = 0.0
        self.shares: list[tuple[float, str, int]] = []
        self.counted: dict[str, list[tuple[float, str, float]]] = {}
        self._young: dict[str, int] = {}
        analyst: Object = {
            "mode": "Standard",
            "model_name": "cxr",
            "prometheus": {"address": "http://prometheus"},
            "policy": dict(policy),
            **(settings or {}),
        }
        backend = {"name": "cxr-predictor", "port": 80, "weight": 1}
        route = {
            "metadata": {"labels": {"app": "cxr"}},
            "spec": {"rules": [{"backendRefs": [backend]}]},
        }
        data = {"analyst.yaml": json.dumps(analyst), "route.yaml": json.dumps(route)}
        self.api.objects[ANALYST] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAMES.analyst, "uid": "1", "resourceVersion": "1"},
            "data": data,
        }

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.api, NAMESPACE)

    def upgrade(self, model: str) -> None:
        """What helm does: the spec, and nothing that it did not write before."""
        container = {
            "name": "kserve-container",
            "image": "i",
            "env": [{"name": "M", "value": model}],
        }
        predictor = {"containers": [container], "annotations": {"sightline/revision": model}}
        live = self.api.objects.get(service_path("cxr"), {})
        fresh = {"name": "cxr", "uid": "2", "resourceVersion": "0", "labels": {"team": "imaging"}}
        self.api.objects[service_path("cxr")] = merge(
            {"metadata": fresh} | live,
            {"apiVersion": "v1", "kind": "InferenceService", "spec": {"predictor": predictor}},
        )

    def model(self, name: str) -> str | None:
        """What an InferenceService was told to serve."""
        found = self.api.objects.get(service_path(name))
        return None if found is None else _model(found)

    def pods(self, name: str) -> str | None:
        """What its ready pods serve; None if there are none."""
        found = self.api.objects.get(deployment_path(name))
        return (
            None if found is None or not found["status"]["availableReplicas"] else found["serves"]
        )

    def weight_percent(self) -> int | None:
        """Share of the target, as the route has it."""
        route = self.api.objects.get(ROUTE)
        if route is None:
            return None
        refs = route["spec"]["rules"][0]["backendRefs"]
        return next((ref["weight"] for ref in refs if ref["name"] == "cxr-predictor"), 0)

    def stopped(self) -> bool:
        service = self.api.objects[service_path("cxr")]
        return (service["metadata"].get("annotations") or {}).get(STOP) == "true"

    def pass_time(self, seconds: float) -> None:
        """KServe and Kubernetes do their part, and clients ask."""
        self.now_s += seconds
        for name in ("cxr", "cxr-primary"):
            self._reconcile(name)
        share = self.weight_percent()
        if share is None:
            return
        for name, weight in (("cxr", share), ("cxr-primary", 100 - share)):
            served = self.pods(name)
            if weight and served is None:
                self.lost += seconds * self.rate * weight / 100
            elif weight:
                assert served is not None
                self.shares.append((seconds, served, weight))
                self._count(name, served, seconds * self.rate * weight / 100)

    def _count(self, name: str, served: str, requests: float) -> None:
        self.counted.setdefault(name, []).append((self.now_s, served, requests))

    def _reconcile(self, name: str) -> None:
        service = self.api.objects.get(service_path(name))
        path = deployment_path(name)
        if service is None or (service["metadata"].get("annotations") or {}).get(STOP) == "true":
            self.api.objects.pop(path, None)
            self._young.pop(name, None)
            if service is not None:
                service["status"] = {}
            return
        model = _model(service)
        found = self.api.objects.get(path)
        marker = service["spec"]["predictor"]["annotations"]["sightline/revision"]
        if found is None or found["told"] != model:
            serves = None if found is None else found["serves"]
            self._young[name] = 0
            found = {"told": model, "serves": serves}
        elif model not in self.broken:
            self._young[name] += 1
        new = self._young[name] >= 2
        if new:
            found["serves"] = model
        up = found["serves"] is not None
        replicas = self.replicas.get(name, 1)
        metadata = {"name": path, "generation": 1, "resourceVersion": "1"}
        self.api.objects[path] = found | {
            "metadata": metadata,
            "spec": {
                "replicas": replicas + 1 if self.scaling else replicas,
                "template": {"metadata": {"annotations": {"sightline/revision": marker}}},
            },
            "status": {
                "observedGeneration": 1,
                "replicas": replicas if new else replicas + 1,
                "updatedReplicas": replicas,
                "availableReplicas": replicas if up else 0,
            },
        }
        ready = str(up and not self.scaling)
        service["status"] = {"conditions": [{"type": "Ready", "status": ready}]}

    def metrics(self, source: Source) -> "FakeMetrics":
        return FakeMetrics(self)


class FakeMetrics:
    """What Prometheus would say of the requests that were answered."""

    def __init__(self, world: World) -> None:
        self._world = world

    def counts(self, matching: str, since_s: float, until_s: float) -> Counts:
        from k8s.rollout.prometheus import MetricsError, NotYetError

        if not self._world.prometheus_up:
            raise MetricsError("Prometheus did not answer")
        if self._world.scrape_s and until_s - until_s % self._world.scrape_s <= since_s:
            raise NotYetError("no samples")
        name = matching.split('"')[1]
        requests = errors = 0.0
        for at_s, served, count in self._world.counted.get(name, []):
            if since_s < at_s <= until_s:
                requests += count
                errors += count * self._world.failing.get(served, 0.0)
        answered = requests - errors
        confidence = (0.0, answered * 0.2, answered * 0.8)
        return Counts(
            requests=requests,
            errors=errors,
            latency_bounds_s=BOUNDS_S,
            latency=(answered * 0.5, answered * 0.4, answered * 0.1, 0.0),
            latency_sum_s=answered * 0.02,
            images=answered,
            classes={"normal": answered * 0.7, "nodule": answered * 0.3},
            confidence_bounds=(0.5, 0.9),
            confidence=confidence,
            abstained=answered * 0.05,
        )

    def close(self) -> None:
        pass


def _model(service: Object) -> str:
    containers = service["spec"]["predictor"]["containers"]
    return str(containers[0]["env"][0]["value"])
