"""The analyst as its own service account, with the real API, controllers and KServe.

What Prometheus would say is made up here; tests/k8s/rollout asks a real one.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.rollout import record as records
from k8s.rollout.cluster import Cluster, KubernetesTransport
from k8s.rollout.controller import Controller
from k8s.rollout.names import Names
from k8s.rollout.observation import Counts
from k8s.rollout.prometheus import MetricsError
from k8s.rollout.record import Record
from k8s.rollout.telemetry import Telemetry
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Object, eventually
from tests.cluster.surroundings import claims
from tests.cluster.test_chart import ROUTES, helm
from tests.helm.chart import CHART

NAMES = Names("cxr")
PATIENCE_S = 120.0
# The analyst's time goes so much faster, so that its windows are full sooner.
HASTE = 20
BEGAN_S = time.time()
VALUES: Any = {
    "model": {"uri": "pvc://models/1"},
    "autoscaling": {"type": "hpa", "minReplicas": 2},
    "route": {"type": "httpRoute", "parentRefs": [{"name": "public", "namespace": "gateways"}]},
    "analyst": {
        "enabled": True,
        "prometheus": {"address": "http://prometheus"},
        "policy": {
            "steps": [0, 50, 100],
            "settle_s": 10,
            "min_step_s": 20,
            "window_s": 5,
            "readiness_s": 60 * HASTE,
        },
    },
}
REQUESTS = Counts(
    requests=2000,
    latency_bounds_s=(0.01, 0.05, 0.1),
    latency=(1000.0, 900.0, 100.0, 0.0),
    latency_sum_s=40.0,
    images=2000,
    classes={"normal": 1400, "nodule": 600},
    confidence_bounds=(0.5, 0.9),
    confidence=(0.0, 400.0, 1600.0),
    abstained=100,
)


def hasty() -> float:
    return BEGAN_S + (time.time() - BEGAN_S) * HASTE


class Traffic:
    """Two thousand requests at each side between two looks, some of them failing."""

    failing = False
    away = False
    _asked = 0

    def counts(self, matching: str, since_s: float, until_s: float) -> Counts:
        if self.away:
            raise MetricsError("Prometheus did not answer")
        # The primary is asked about first.
        self._asked += 1
        target = self._asked % 2 == 0
        return replace(REQUESTS, errors=800) if target and self.failing else REQUESTS

    def close(self) -> None:
        pass


class Release:
    """A release with the analyst, and what the analyst and its surroundings do."""

    def __init__(self, plane: ControlPlane, namespace: str, folder: Path) -> None:
        self.kubectl = plane.admin
        self.namespace = namespace
        self.traffic = Traffic()
        self._folder = folder
        self._plane = plane
        # Shares that went to a Service without a ready pod.
        self.lost: list[str] = []

    def helm(self, command: str, **values: Any) -> None:
        file = self._folder / "values.yaml"
        file.write_text(yaml.safe_dump(merged(VALUES, values)))
        helm(self.kubectl, command, "cxr", str(CHART), "-n", self.namespace, "--values", str(file))

    def analyst(self) -> Controller:
        """A new one, with the rights that the chart gives it and no other."""
        token = self.kubectl("create", "token", NAMES.analyst, "-n", self.namespace).strip()
        login = self._folder / "kubeconfig"
        given = yaml.safe_load(self.kubectl.kubeconfig.read_text())
        given["users"] = [
            {"name": each["name"], "user": {"token": token}} for each in given["users"]
        ]
        login.write_text(yaml.safe_dump(given))
        cluster = Cluster(KubernetesTransport(kubeconfig=login), self.namespace)
        return Controller(cluster, NAMES, Telemetry(), hasty, lambda _: self.traffic)

    def until_done(self) -> Record:
        """Look until nothing is left to do."""
        controller = self.analyst()
        end = time.monotonic() + PATIENCE_S
        while True:
            record = controller.look()
            self.watch()
            if controller.done:
                return record
            assert time.monotonic() < end, (record.phase, record.state.last, self.state())
            time.sleep(0.2)

    def watch(self) -> None:
        """No share may go to a Service that has no pod."""
        for name, weight in self.shares().items():
            if weight and self.replicas(name) == 0:
                self.lost.append(f"{weight} % for {name}")

    def shares(self) -> dict[str, int]:
        route = self.kubectl.find("httproute", NAMES.route, self.namespace)
        refs = [] if route is None else route["spec"]["rules"][-1]["backendRefs"]
        return {ref["name"]: ref["weight"] for ref in refs}

    def replicas(self, deployment: str) -> int:
        found = self.kubectl.find("deployment", deployment, self.namespace)
        return 0 if found is None else int(found.get("status", {}).get("availableReplicas", 0))

    def serves(self, name: str) -> str | None:
        """Which bundle the Deployment of an InferenceService mounts."""
        found = self.kubectl.find("deployment", f"{name}-predictor", self.namespace)
        if found is None:
            return None
        (container,) = found["spec"]["template"]["spec"]["containers"]
        environment = {each["name"]: each.get("value") for each in container["env"]}
        return str(environment["STORAGE_URI"])

    def versions(self) -> dict[str, Any]:
        """Of everything that an analyst could write: who wrote it, and when, but for statuses."""
        kinds = f"inferenceservices,{ROUTES},configmaps,deployments"
        found = json.loads(
            self.kubectl("get", kinds, "-n", self.namespace, "-o", "json", "--show-managed-fields")
        )["items"]
        return {
            f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["generation"]
            if each["kind"] == "Deployment"
            else [
                writer
                for writer in each["metadata"]["managedFields"]
                if writer.get("subresource") != "status"
            ]
            for each in found
        }

    def record(self) -> Record:
        cluster = Cluster(KubernetesTransport(kubeconfig=self.kubectl.kubeconfig), self.namespace)
        found = records.read(cluster, NAMES).record
        assert found is not None
        return found

    def events(self) -> list[Object]:
        found = self.kubectl.all("events", self.namespace)
        return [each for each in found if each["source"].get("component") == "sightline-rollout"]

    def state(self) -> list[Object]:
        return [each.get("status", {}) for each in self.kubectl.all("deployments", self.namespace)]


def merged(one: Any, other: Any) -> Any:
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return other
    return {**one, **{key: merged(one.get(key), value) for key, value in other.items()}}


@contextmanager
def installed(plane: ControlPlane, name: str, folder: Path) -> Iterator[Release]:
    with plane.admin.namespace(name) as namespace:
        plane.admin.apply(*claims(namespace, "models"))
        release = Release(plane, namespace, folder)
        release.helm("install")
        yield release


@pytest.fixture(scope="module")
def release(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """One for all tests here; each leaves another model."""
    with installed(plane, "analyst", tmp_path_factory.mktemp("analyst")) as release:
        release.until_done()
        yield release


def test_the_first_release_becomes_the_primary_and_the_target_s_pods_go(release: Release) -> None:
    assert release.serves("cxr-primary") == "pvc://models/1"
    assert release.shares() == {"cxr-primary-predictor": 100}
    gone = ("deployment", "service")
    find = release.kubectl.find
    for kind in gone:
        eventually(
            lambda kind=kind: find(kind, "cxr-predictor", release.namespace) is None,  # type: ignore[misc]
            f"no {kind} of the target",
        )
    labels = release.kubectl.get("deployment", "cxr-primary-predictor", release.namespace)
    spread = labels["spec"]["template"]["spec"]["topologySpreadConstraints"][0]
    assert spread["labelSelector"]["matchLabels"] == labels["spec"]["selector"]["matchLabels"]


def test_looks_and_unchanged_values_change_no_object(release: Release) -> None:
    eventually(lambda: release.serves("cxr") is None, "the target's pods are gone")
    before = release.versions()
    release.helm("upgrade")
    for _ in range(3):
        release.until_done()
    assert release.versions() == before


def test_a_good_release_is_promoted_and_every_share_had_its_pods(release: Release) -> None:
    release.lost.clear()
    release.helm("upgrade", model={"uri": "pvc://models/2"})
    record = release.until_done()
    assert release.serves("cxr-primary") == "pvc://models/2"
    assert release.replicas("cxr-primary-predictor") == 2
    assert release.shares() == {"cxr-primary-predictor": 100}
    assert (record.phase, record.rejected, release.lost) == ("idle", "", [])
    told = {each["reason"] for each in release.events()}
    assert {"RolloutBegun", "VerdictAdvance", "VerdictPromote", "Promoted"} <= told


def test_a_failing_release_is_rolled_back_and_stays_so(release: Release) -> None:
    release.helm("upgrade", model={"uri": "pvc://models/3"})
    release.until_done()
    release.lost.clear()
    release.traffic.failing = True
    try:
        release.helm("upgrade", model={"uri": "pvc://models/bad"})
        record = release.until_done()
    finally:
        release.traffic.failing = False
    assert release.serves("cxr-primary") == "pvc://models/3"
    assert release.shares() == {"cxr-primary-predictor": 100}
    assert (record.rejected, release.lost) == (record.state.release, [])
    eventually(lambda: release.serves("cxr") is None, "the target's pods are gone")
    before = release.versions()
    release.helm("upgrade", model={"uri": "pvc://models/bad"})
    release.until_done()
    assert release.versions() == before
    (event,) = [each for each in release.events() if each["reason"] == "VerdictRollback"]
    assert event["involvedObject"]["name"] == "cxr"
    assert "errors" in event["message"]
    annotations = release.kubectl.get("configmap", NAMES.record, release.namespace)["metadata"]
    assert annotations["annotations"]["sightline/verdict"] == "rollback"


def test_another_route_changes_its_rules_and_not_the_shares(release: Release) -> None:
    release.helm("upgrade", model={"uri": "pvc://models/4"})
    release.until_done()
    release.traffic.away = True
    controller = release.analyst()
    try:
        release.helm("upgrade", model={"uri": "pvc://models/5"})
        while release.record().phase != "analysing":
            controller.look()
            time.sleep(0.2)
        release.helm("upgrade", model={"uri": "pvc://models/5"}, route={"grpc": False})
        controller.look()
        route = release.kubectl.get("httproute", NAMES.route, release.namespace)
        assert len(route["spec"]["rules"]) == 1
        assert release.shares() == {"cxr-primary-predictor": 100}
        assert release.record().phase == "analysing"
    finally:
        release.traffic.away = False
        release.until_done()
    assert release.serves("cxr-primary") == "pvc://models/5"


def test_it_may_do_nothing_that_it_need_not(release: Release) -> None:
    account = f"system:serviceaccount:{release.namespace}:{NAMES.analyst}"

    def may(verb: str, what: str) -> bool:
        asked = ("auth", "can-i", verb, what, "-n", release.namespace, "--as", account)
        return release.kubectl.run(*asked).returncode == 0

    assert may("patch", "inferenceservices.serving.kserve.io/cxr-primary")
    assert may("patch", "horizontalpodautoscalers.autoscaling/cxr-primary")
    for verb, what in (
        ("get", "secrets"),
        ("list", "configmaps"),
        ("get", "configmaps/other"),
        ("create", "inferenceservices.serving.kserve.io"),
        ("patch", "inferenceservices.serving.kserve.io/other"),
        ("delete", "inferenceservices.serving.kserve.io/cxr-primary"),
        ("patch", "deployments.apps/cxr-primary-predictor"),
        ("patch", "httproutes.gateway.networking.k8s.io/other"),
        ("update", "leases.coordination.k8s.io/other"),
    ):
        assert not may(verb, what), (verb, what)


def test_uninstalling_leaves_nothing_of_it(plane: ControlPlane, tmp_path: Path) -> None:
    with installed(plane, "analyst-gone", tmp_path) as release:
        release.until_done()
        helm(release.kubectl, "uninstall", "cxr", "-n", release.namespace)
        kinds = f"inferenceservices,{ROUTES},leases,deployments,roles"

        def left() -> list[str]:
            found = release.kubectl.all(kinds, release.namespace)
            record = release.kubectl.find("configmap", NAMES.record, release.namespace)
            return [each["metadata"]["name"] for each in [*found, *([record] if record else [])]]

        eventually(lambda: not left(), "nothing is left", left)


def test_it_is_turned_on_beside_a_release_that_serves_without_a_gap(
    plane: ControlPlane, tmp_path: Path
) -> None:
    """As docs/rollout.md says."""
    with plane.admin.namespace("analyst-on") as namespace:
        plane.admin.apply(*claims(namespace, "models"))
        release = Release(plane, namespace, tmp_path)
        release.helm("install", analyst={"enabled": False})
        eventually(lambda: release.replicas("cxr-predictor") == 2, "it serves")
        keep = "helm.sh/resource-policy=keep"
        release.kubectl("annotate", "httproute", NAMES.route, keep, "-n", namespace)
        release.helm("upgrade")
        assert release.shares() == {"cxr-predictor": 1}
        release.until_done()
        assert release.shares() == {"cxr-primary-predictor": 100}
        assert release.lost == []
