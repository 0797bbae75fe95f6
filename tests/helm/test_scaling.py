"""Exactly one autoscaler, and one that works with KServe's controller."""

from typing import Any

import pytest

from tests.helm.chart import CI_VALUES, Object, Rendered

CLASS = "serving.kserve.io/autoscalerClass"
KEDA: Any = {"serverAddress": "http://prometheus:9090"}


def annotations(rendered: Rendered) -> Object:
    found: Object = rendered.service["metadata"]["annotations"]
    return found


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_at_most_one_autoscaler(values: Any) -> None:
    rendered = Rendered(files=[values])
    scalers = rendered.all("HorizontalPodAutoscaler") + rendered.all("ScaledObject")
    stable = rendered.all("InferenceService")[0]
    deployed = f"{stable['metadata']['name']}-predictor"
    ours = [each for each in scalers if each["spec"]["scaleTargetRef"]["name"] == deployed]
    kserve = stable["spec"]["predictor"].get("minReplicas") is not None
    assert len(ours) + kserve == 1


def test_kserve_keeps_its_hands_off_our_autoscaler() -> None:
    rendered = Rendered({"autoscaling": {"type": "hpa"}})
    assert annotations(rendered)[CLASS] == "external"
    # KServe would set its own numbers, and overwrite an HPA of the Deployment's name.
    assert not {"minReplicas", "maxReplicas", "scaleTarget"} & set(rendered.predictor)
    hpa = rendered.one("HorizontalPodAutoscaler")
    assert hpa["metadata"]["name"] != hpa["spec"]["scaleTargetRef"]["name"] == "cxr-predictor"


def test_the_hpa_has_a_scale_down_that_applies() -> None:
    scaling = {
        "minReplicas": 3,
        "maxReplicas": 9,
        "scaleDownStabilizationSeconds": 600,
        "scaleDownPodsPerMinute": 2,
        "hpa": {"cpuUtilizationPercent": 55},
    }
    spec = Rendered({"autoscaling": scaling}).one("HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 9)
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 55
    down = spec["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 600
    assert down["policies"] == [{"type": "Pods", "value": 2, "periodSeconds": 60}]


def test_without_an_autoscaler_kserve_keeps_the_number() -> None:
    rendered = Rendered({"autoscaling": {"type": "none", "minReplicas": 4}})
    assert annotations(rendered)[CLASS] == "none"
    assert (rendered.predictor["minReplicas"], rendered.predictor["maxReplicas"]) == (4, 4)
    assert not rendered.all("HorizontalPodAutoscaler")


def trigger(rendered: Rendered) -> Object:
    triggers = rendered.one("ScaledObject")["spec"]["triggers"]
    assert len(triggers) == 1
    found: Object = triggers[0]
    return found


@pytest.mark.parametrize(
    ("metric", "gauge"), [("inflight", "sightline_inflight"), ("queue", "sightline_queue_depth")]
)
def test_keda_divides_the_total_over_the_pods(metric: str, gauge: str) -> None:
    rendered = Rendered({"autoscaling": {"type": "keda", "keda": KEDA | {"metric": metric}}})
    assert annotations(rendered)[CLASS] == "external"
    spec = rendered.one("ScaledObject")["spec"]
    assert spec["scaleTargetRef"]["name"] == "cxr-predictor"
    found = trigger(rendered)
    assert found["metricType"] == "AverageValue"
    assert found["metadata"]["query"] == (
        f'sum(avg_over_time({gauge}{{namespace="models",'
        'pod=~"cxr-predictor-[a-z0-9]+-[a-z0-9]+"}[1m]))'
    )
    assert found["metadata"]["threshold"] == "8"
    # Metrics that are gone must not look like an absence of load.
    assert found["metadata"]["ignoreNullValues"] == "false"
    assert spec["fallback"] == {"failureThreshold": 3, "replicas": 2}


def test_the_gauges_that_keda_asks_for_are_the_predictor_s() -> None:
    from prometheus_client import CollectorRegistry

    from predictor.metrics import Metrics

    registry = CollectorRegistry()
    Metrics(registry)
    names = {metric.name for metric in registry.collect()}
    assert {"sightline_inflight", "sightline_queue_depth"} <= names


def test_the_query_does_not_count_the_canary_s_pods() -> None:
    import re

    query = trigger(Rendered({"autoscaling": {"type": "keda", "keda": KEDA}}))["metadata"]["query"]
    pattern = re.search(r'pod=~"([^"]+)"', query)
    assert pattern is not None
    assert re.fullmatch(pattern[1], "cxr-predictor-6d4f9c7b8-x2x4z")
    assert not re.fullmatch(pattern[1], "cxr-canary-predictor-6d4f9c7b8-x2x4z")
    assert not re.fullmatch(pattern[1], "lung-cxr-predictor-6d4f9c7b8-x2x4z")


def test_keda_s_own_knobs() -> None:
    keda = KEDA | {
        "query": 'sum(x{a="b"})',
        "threshold": 0.5,
        "pollingSeconds": 5,
        "cooldownSeconds": 30,
        "fallbackReplicas": 4,
        "authenticationRef": "auth",
        "authModes": "bearer",
        "activationThreshold": 2,
    }
    scaling = {"type": "keda", "minReplicas": 0, "keda": keda}
    rendered = Rendered({"autoscaling": scaling, "podDisruptionBudget": {"enabled": False}})
    spec = rendered.one("ScaledObject")["spec"]
    assert spec["minReplicaCount"] == 0
    assert (spec["pollingInterval"], spec["cooldownPeriod"]) == (5, 30)
    assert spec["fallback"]["replicas"] == 4
    found = trigger(rendered)
    assert found["authenticationRef"] == {"name": "auth"}
    assert found["metadata"] == {
        "serverAddress": "http://prometheus:9090",
        "query": 'sum(x{a="b"})',
        "threshold": "0.5",
        "activationThreshold": "2",
        "ignoreNullValues": "true",
        "authModes": "bearer",
    }


def test_hpa_and_keda_scale_down_alike() -> None:
    hpa = Rendered().one("HorizontalPodAutoscaler")["spec"]["behavior"]
    keda = Rendered({"autoscaling": {"type": "keda", "keda": KEDA}}).one("ScaledObject")
    assert keda["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == hpa


def test_knative_scales_by_itself_down_to_nothing() -> None:
    scaling = {"type": "knative", "minReplicas": 0, "maxReplicas": 5}
    rendered = Rendered(
        {
            "deploymentMode": "Knative",
            "autoscaling": scaling,
            "podDisruptionBudget": {"enabled": False},
        }
    )
    predictor = rendered.predictor
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (0, 5)
    assert predictor["scaleMetric"] == "concurrency"
    assert predictor["scaleTarget"] == 8
    assert predictor["containerConcurrency"] == 0
    assert CLASS not in annotations(rendered)


def test_a_budget_that_lets_nodes_be_drained() -> None:
    budget = Rendered({"podDisruptionBudget": {"maxUnavailable": "25%"}}).one("PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == "25%"
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budget["spec"]["selector"]["matchLabels"] == {
        "serving.kserve.io/inferenceservice": "cxr",
        "component": "predictor",
    }
    assert not Rendered({"podDisruptionBudget": {"enabled": False}}).all("PodDisruptionBudget")
