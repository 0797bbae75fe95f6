"""The predictor's pod where linters look: in a Deployment, as KServe makes it.

Linters know nothing of InferenceServices, and would be content with any.
"""

from typing import Any

from k8s.rollout.service import primary_of, release_of
from tests.helm.chart import Object

# Of the predictor's specification, what is KServe's own and not the pod's.
OF_THE_COMPONENT = {
    "annotations",
    "canaryTrafficPercent",
    "containerConcurrency",
    "deploymentStrategy",
    "labels",
    "maxReplicas",
    "minReplicas",
    "scaleMetric",
    "scaleTarget",
    "storageContainerName",
    "timeout",
}


def deployment(inference: Object) -> Object:
    """What KServe's controller makes of an InferenceService in Standard mode."""
    name = inference["metadata"]["name"]
    predictor: dict[str, Any] = inference["spec"]["predictor"]
    labels = inference["metadata"]["labels"] | {
        "app": f"isvc.{name}-predictor",
        "component": "predictor",
        "serving.kserve.io/inferenceservice": name,
    }
    spec: Object = {
        "selector": {"matchLabels": {"app": labels["app"]}},
        "template": {
            "metadata": {"labels": labels, "annotations": predictor.get("annotations", {})},
            "spec": {key: each for key, each in predictor.items() if key not in OF_THE_COMPONENT},
        },
    }
    if "deploymentStrategy" in predictor:
        spec["strategy"] = predictor["deploymentStrategy"]
    if "minReplicas" in predictor:
        spec["replicas"] = predictor["minReplicas"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"{name}-predictor",
            "namespace": inference["metadata"]["namespace"],
            "labels": labels,
        },
        "spec": spec,
    }


def service(deployed: Object) -> Object:
    """What KServe's controller puts before it."""
    ports = deployed["spec"]["template"]["spec"]["containers"][0]["ports"]
    first, others = ports[0], ports[1:]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": deployed["metadata"],
        "spec": {
            "selector": deployed["spec"]["selector"]["matchLabels"],
            "ports": [
                {"name": first["name"], "port": 80, "targetPort": first["containerPort"]},
                *({"name": port["name"], "port": port["containerPort"]} for port in others),
            ],
        },
    }


def autoscaler(scaled: Object) -> Object:
    """What KEDA makes of a ScaledObject, once there are pods."""
    spec = scaled["spec"]
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": scaled["metadata"] | {"name": f"keda-hpa-{scaled['metadata']['name']}"},
        "spec": {
            "scaleTargetRef": spec["scaleTargetRef"],
            "minReplicas": max(1, spec["minReplicaCount"]),
            "maxReplicas": spec["maxReplicaCount"],
            "behavior": spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
        },
    }


def primary(objects: list[Object]) -> list[Object]:
    """The InferenceService that the analyst adds to those of a release in Standard mode, if any."""
    if not any("route.yaml" in each.get("data", {}) for each in objects):
        return []
    (target,) = (each for each in objects if each["kind"] == "InferenceService")
    place = target["metadata"]["name"], f"{target['metadata']['name']}-primary"
    made = primary_of(release_of(target), *place)
    metadata = made["metadata"] | {"name": place[1], "namespace": target["metadata"]["namespace"]}
    return [target | {"metadata": metadata, "spec": made["spec"]}]


def lifted(objects: list[Object]) -> list[Object]:
    """The objects of a release, and in place of some what their controllers make of them."""
    found = []
    for each in [*objects, *primary(objects)]:
        if each["kind"] == "InferenceService":
            deployed = deployment(each)
            found += [deployed, service(deployed)]
        elif each["kind"] == "ScaledObject":
            found.append(autoscaler(each))
        else:
            found.append(each)
    return found
