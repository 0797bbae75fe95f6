"""Rollouts on a real node: real pods, a real gateway, a real Prometheus, real requests.

Not real are prometheus-operator (see scraping.py) and the networks, which are random weights: one
version answers as the first does, and another calls everything normal.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.rollout.cluster import MANAGER
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl, Object
from tests.helm.chart import CHART, ROOT
from tests.node.gateway import NAME, NAMESPACE
from tests.node.scraping import URL, prometheus
from tests.node.traffic import Traffic
from tests.predictor.bundles import make_bundle

RELEASE, HOST = "cxr", "cxr.example.com"
PATIENCE_S = 420.0
VERSIONS = {"1": (0.0, 0.0, 0.0), "2": (0.01, 0.0, 0.0), "3": (25.0, 0.0, 0.0)}
RATE = {"margin": 0.05, "margin_ratio": 3, "intolerable": 0.2, "intolerable_ratio": 6}
# Two cores for all of this: what is slow here says nothing about the model.
LATENCY = {"margin_ratio": 4, "intolerable_ratio": 10}
VALUES: Any = {
    "image": {
        "repository": "localhost/sightline-serve-cpu",
        "tag": "dev",
        "pullPolicy": "Never",
    },
    "model": {"uri": "pvc://models/1", "version": "1"},
    "settings": {"engine": "onnxruntime", "precision": "fp32", "max_batch_size": 4},
    "autoscaling": {"type": "none", "minReplicas": 1},
    "podDisruptionBudget": {"enabled": False},
    "topologySpread": {"enabled": False},
    "probes": {"readinessPeriodSeconds": 1},
    "resources": {
        "requests": {"cpu": "100m", "memory": "1Gi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    },
    "route": {
        "type": "httpRoute",
        "parentRefs": [{"name": NAME, "namespace": NAMESPACE}],
        "hostnames": [HOST],
        "grpc": False,
    },
    "analyst": {
        "enabled": True,
        "imageRepository": "localhost/sightline-rollout",
        "imageTag": "dev",
        "intervalSeconds": 2,
        "prometheus": {"address": URL},
        "policy": {
            "steps": [0, 20, 50, 100],
            "min_requests": 60,
            "min_step_s": 15,
            "settle_s": 6,
            "window_s": 6,
            "window_requests": 10,
            "tail_requests": 100,
            "readiness_s": 240,
            "errors": RATE,
            "decode_failures": RATE,
            "abstention": RATE,
            "latency_mean": LATENCY,
            "latency_p50": LATENCY,
            "latency_p99": LATENCY,
            "confidence": {"margin": 0.2, "intolerable": 0.35},
        },
    },
}


@pytest.fixture(scope="module")
def namespace(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """With the bundles of all versions on a volume."""
    bundles = tmp_path_factory.mktemp("bundles")
    for version, bias in VERSIONS.items():
        make_bundle(bundles / version, RELEASE, bias)
    bundles.chmod(0o755)
    with plane.admin.namespace("models") as namespace, prometheus(plane, namespace):
        reference = {"namespace": namespace, "name": "models"}
        common: Object = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
        room = {"storage": "1Gi"}
        place = {"hostPath": {"path": str(bundles)}, "capacity": room, "claimRef": reference}
        plane.admin.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": "models"},
                "spec": common | place,
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": reference,
                "spec": common | {"volumeName": "models", "resources": {"requests": room}},
            },
        )
        yield namespace


def upgrade(kubectl: Kubectl, namespace: str, folder: Path, version: str) -> None:
    values = folder / f"{version}.yaml"
    model = {"uri": f"pvc://models/{version}", "version": version}
    values.write_text(yaml.safe_dump(VALUES | {"model": model}))
    done = kubectl.helm(
        "upgrade", "--install", RELEASE, str(CHART), "-n", namespace, "--values", str(values)
    )
    assert done.returncode == 0, done.stderr


def record(kubectl: Kubectl, namespace: str) -> Object:
    found = kubectl.find("configmap", f"{RELEASE}-rollout", namespace)
    annotations: Object = {} if found is None else found["metadata"].get("annotations", {})
    return {key.removeprefix("sightline/"): value for key, value in annotations.items()}


def weights(kubectl: Kubectl, namespace: str) -> dict[str, int]:
    route = kubectl.find("httproute", f"{RELEASE}-route", namespace)
    backends = [] if route is None else route["spec"]["rules"][-1]["backendRefs"]
    return {each["name"]: each["weight"] for each in backends}


def wait(plane: ControlPlane, namespace: str, what: str, is_so: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: {state(plane, namespace)}"
        time.sleep(1.0)


def state(plane: ControlPlane, namespace: str) -> str:
    found = record(plane.admin, namespace), weights(plane.admin, namespace)
    pods = plane.admin("get", "pods", "-n", namespace, "-o", "wide")
    return f"{json.dumps(found)}\n{pods}"


def serves(kubectl: Kubectl, namespace: str, version: str) -> bool:
    """Whether the primary has that version, and all requests go to it."""
    primary = kubectl.find("inferenceservice", f"{RELEASE}-primary", namespace)
    if primary is None:
        return False
    (container,) = primary["spec"]["predictor"]["containers"]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    alone = {name for name, weight in weights(kubectl, namespace).items() if weight}
    return environment["SIGHTLINE_MODEL_VERSION"] == version and alone == {
        f"{RELEASE}-primary-predictor"
    }


def verdicts(kubectl: Kubectl, namespace: str) -> list[str]:
    """What the analyst's Events say, the oldest first."""
    found = kubectl.all("events", namespace)
    ours = [each for each in found if each["source"].get("component") == MANAGER]
    ours.sort(key=lambda each: each["firstTimestamp"] or each["eventTime"])
    return [f"{each['reason']}: {each['message'].split('; ')[0]}" for each in ours]


def write_figures(traffic: Traffic, said: list[str]) -> None:
    asked = traffic.statuses.total()
    figures = {
        "requests": asked,
        "lost_requests": asked - traffic.statuses["200"],
        "by_version": dict(traffic.versions),
        "verdicts": said,
    }
    file = ROOT / "build/bench/rollout-node.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=2) + "\n")


@pytest.mark.timeout(1800)
def test_a_good_release_is_promoted_and_a_collapsed_one_rolled_back_without_a_lost_request(
    plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    kubectl = plane.admin
    upgrade(kubectl, namespace, tmp_path, "1")
    wait(plane, namespace, "the first release is promoted", lambda: serves(kubectl, namespace, "1"))
    with Traffic(HOST, RELEASE) as traffic:
        traffic.wait_for(20)
        # Only now: before the first release there is nobody to answer.
        traffic.statuses.clear()
        upgrade(kubectl, namespace, tmp_path, "2")
        wait(plane, namespace, "the good one is promoted", lambda: serves(kubectl, namespace, "2"))
        assert traffic.versions["2"] > 0
        collapsed_from = traffic.versions["3"]
        upgrade(kubectl, namespace, tmp_path, "3")
        wait(
            plane,
            namespace,
            "the collapsed one is rolled back",
            lambda: record(kubectl, namespace).get("verdict") == "rollback",
        )
        wait(plane, namespace, "all is as before", lambda: serves(kubectl, namespace, "2"))
        traffic.wait_for(50)
    assert traffic.versions["3"] > collapsed_from, "the collapsed one never got a request"
    write_figures(traffic, verdicts(kubectl, namespace))
    assert set(traffic.statuses) == {"200"}, traffic.statuses
    assert "classes" in record(kubectl, namespace)["reason"]
