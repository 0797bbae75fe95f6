"""What the API server and KServe's webhooks refuse: that they are there, and really asked."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.kubectl import Kubectl, Object, eventually
from tests.helm.chart import Rendered
from tests.k8s.rendered import OVERLAYS, render

Change = Callable[[Object], Any]


def predictor(service: Object) -> Object:
    found: Object = service["spec"]["predictor"]
    return found


# Each is a mistake that somebody could make with the chart's objects at hand.
SERVICES: dict[str, tuple[Change, str]] = {
    "name": (lambda it: it["metadata"].update(name="1cxr"), "is invalid"),
    "scaler": (
        lambda it: it["metadata"]["annotations"].update(
            {"serving.kserve.io/autoscalerClass": "karpenter"}
        ),
        "karpenter",
    ),
    "replicas": (lambda it: predictor(it).update(minReplicas=9, maxReplicas=2), "inReplicas"),
    "negative": (lambda it: predictor(it).update(minReplicas=-1), "inReplicas"),
    "key": (lambda it: predictor(it).update(minReplica=1), 'unknown field "spec.predictor.minR'),
    "type": (lambda it: predictor(it).update(maxReplicas="many"), "maxReplicas"),
    "pythonpath": (
        lambda it: predictor(it)["containers"][0]["env"].append(
            {"name": "PYTHONPATH", "value": "/x"}
        ),
        "PYTHONPATH",
    ),
}


@pytest.fixture(scope="module")
def namespace(kubectl: Kubectl) -> Any:
    with kubectl.namespace("refusals") as namespace:
        yield namespace


def refused(kubectl: Kubectl, namespace: str, item: Object) -> str:
    item["metadata"]["namespace"] = namespace
    done = kubectl.run("create", "--validate=strict", "-f", "-", given=json.dumps(item))
    assert done.returncode != 0, done.stdout
    return done.stderr


@pytest.mark.parametrize("mistake", SERVICES)
def test_an_inference_service_with_a_mistake_is_refused(
    kubectl: Kubectl, namespace: str, mistake: str
) -> None:
    service = Rendered().service
    change, word = SERVICES[mistake]
    change(service)
    assert word in refused(kubectl, namespace, service)


def test_the_mode_of_a_release_cannot_be_changed(kubectl: Kubectl, namespace: str) -> None:
    service = Rendered().service
    service["metadata"]["namespace"] = namespace
    kubectl("apply", "-f", "-", given=json.dumps(service))
    name = service["metadata"]["name"]

    def mode() -> str | None:
        status: Object = kubectl.get("inferenceservice", name, namespace).get("status", {})
        found: str | None = status.get("deploymentMode")
        return found

    assert eventually(mode, "KServe has taken it up") == "Standard"
    service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Knative"
    done = kubectl.run("apply", "-f", "-", given=json.dumps(service))
    assert done.returncode != 0
    assert "deploymentMode cannot be changed" in done.stderr
    kubectl("delete", "inferenceservice", name, "-n", namespace)


JOBS: dict[str, tuple[str, Change, str]] = {
    "index": (
        "multi-node",
        lambda it: it["spec"].update(completionMode="NonIndexed"),
        "requires indexed completion mode",
    ),
    "restart": (
        "gpu",
        lambda it: it["spec"]["template"]["spec"].update(restartPolicy="Always"),
        "restartPolicy",
    ),
    "codes": (
        "gpu",
        lambda it: it["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"].update(values=[]),
        "onExitCodes.values",
    ),
}


@pytest.mark.parametrize("mistake", JOBS)
def test_a_job_with_a_mistake_is_refused(kubectl: Kubectl, namespace: str, mistake: str) -> None:
    overlay, change, word = JOBS[mistake]
    (job,) = [each for each in render(OVERLAYS / overlay) if each["kind"] == "Job"]
    change(job)
    assert word in refused(kubectl, namespace, job)


def test_a_route_with_a_mistake_is_refused(kubectl: Kubectl, namespace: str) -> None:
    parent = {"name": "public", "namespace": "gateways"}
    values = {"route": {"type": "httpRoute", "parentRefs": [parent]}}
    route = Rendered(values).one("HTTPRoute")
    route["spec"]["rules"][0]["backendRefs"][0]["weight"] = -1
    assert "weight" in refused(kubectl, namespace, route)


def test_a_template_of_a_job_cannot_be_changed(kubectl: Kubectl, namespace: str) -> None:
    """Why the chart gives a Job a name that changes with what it trains."""
    (job,) = [each for each in render(OVERLAYS / "cpu") if each["kind"] == "Job"]
    job["metadata"]["namespace"] = namespace
    kubectl("create", "-f", "-", given=json.dumps(job))
    job["spec"]["template"]["spec"]["containers"][0]["args"].append("loop.epochs=2")
    done = kubectl.run("apply", "-f", "-", given=json.dumps(job))
    assert done.returncode != 0
    assert "field is immutable" in done.stderr
