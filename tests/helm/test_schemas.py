"""Every object has the form that its API asks for; the real CRDs say which."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.helm.chart import CI_VALUES, Object, Rendered
from tests.helm.pods import lifted
from tests.helm.schemas import faults

ALL = "production-values.yaml"


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_every_object_has_the_form_that_its_api_asks_for(values: Path) -> None:
    rendered = Rendered(files=[values])
    for item in [*rendered.objects, *lifted(rendered.objects)]:
        assert faults(item) == []


def of_kind(kind: str, file: str = ALL) -> Object:
    values = next(path for path in CI_VALUES if path.name == file)
    return copy.deepcopy(Rendered(files=[values]).one(kind))


def put(item: Object, path: str, value: Any) -> Object:
    *parents, last = path.split(".")
    node: Any = item
    for part in parents:
        node = node[int(part) if part.isdigit() else part]
    node[last] = value
    return item


@pytest.mark.parametrize(
    ("kind", "file", "path", "value"),
    [
        ("InferenceService", ALL, "spec.predictor.terminationGracePeriod", 3),
        ("InferenceService", ALL, "spec.predictor.containers.0.readinessProbe.periodSeconds", "5"),
        ("InferenceService", ALL, "spec.predictor.containers.0.ports", [{"name": "http"}]),
        ("HTTPRoute", ALL, "spec.rules.0.backendRefs.0.weight", "1"),
        ("HTTPRoute", ALL, "spec.rules.0.timeout", "3s"),
        ("ClusterStorageContainer", ALL, "spec.supportedUriFormats", "s3://"),
        ("PodMonitor", ALL, "spec.podMetricsEndpoints.0.interval", "15"),
        ("PrometheusRule", "monitoring-values.yaml", "spec.groups.0.rules.0.expr", None),
        ("PrometheusRule", "monitoring-values.yaml", "spec.groups.0.rules.0.labels", ["a"]),
        ("PrometheusRule", "monitoring-values.yaml", "spec.groups.0.rule", []),
        ("ScaledObject", "keda-values.yaml", "spec.triggers", None),
        ("ScaledObject", "keda-values.yaml", "spec.minReplicas", 1),
        ("NetworkPolicy", ALL, "spec.ingres", []),
        ("NetworkPolicy", ALL, "spec.ingress.0.from.0.namespaceSelector", "gateways"),
        ("PodDisruptionBudget", ALL, "spec.maxUnavailble", 1),
        ("HorizontalPodAutoscaler", ALL, "spec.maxReplicas", None),
        ("HorizontalPodAutoscaler", ALL, "spec.minReplicas", "3"),
        ("Pod", ALL, "spec.containers.0.securityContext.runAsUser", "10001"),
        ("Job", "training-values.yaml", "spec.podFailurePolicy.rules.0.action", None),
        (
            "CronJob",
            "retraining-values.yaml",
            "spec.jobTemplate.spec.template.spec.restart",
            "Never",
        ),
    ],
)
def test_a_fault_is_found(kind: str, file: str, path: str, value: Any) -> None:
    assert faults(put(of_kind(kind, file), path, value)) != []
