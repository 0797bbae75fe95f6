"""The InferenceService: what a release is, and what it tells KServe."""

from pathlib import Path

import pytest

from tests.helm.chart import CHART, CI_VALUES, Rendered, container_of

NOT_IN_KNATIVE = {
    "terminationGracePeriodSeconds",
    "securityContext",
    "topologySpreadConstraints",
    "deploymentStrategy",
}


def test_one_value_is_enough() -> None:
    rendered = Rendered()
    assert rendered.kinds() == [
        "HorizontalPodAutoscaler",
        "InferenceService",
        "Pod",
        "PodDisruptionBudget",
        "ServiceAccount",
    ]
    assert rendered.service["metadata"]["name"] == "cxr"
    assert rendered.environment["STORAGE_URI"] == "s3://models/cxr/7"
    assert rendered.environment["SIGHTLINE_MODEL_NAME"] == "cxr"


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_nothing_belongs_to_the_cluster_unless_asked_for(values: Path) -> None:
    rendered = Rendered(files=[values])
    for each in rendered.objects:
        in_namespace = each["metadata"].get("namespace") == "models"
        assert in_namespace == (each["kind"] != "ClusterStorageContainer")
    asked = "create: true" in values.read_text()
    assert bool(rendered.all("ClusterStorageContainer")) == asked


def test_the_mode_is_always_said() -> None:
    for mode, scaling in (("Standard", "none"), ("Knative", "knative")):
        rendered = Rendered({"deploymentMode": mode, "autoscaling": {"type": scaling}})
        annotations = rendered.service["metadata"]["annotations"]
        assert annotations["serving.kserve.io/deploymentMode"] == mode


def test_the_gateway_waits_longer_than_the_predictor() -> None:
    assert Rendered({"settings": {"timeout_s": 12.2}}).predictor["timeout"] == 18


def test_knative_s_grace_period_is_the_timeout_of_its_revision() -> None:
    rendered = Rendered({"deploymentMode": "Knative", "autoscaling": {"type": "knative"}})
    assert rendered.predictor["timeout"] == 40


def test_in_knative_mode_there_is_nothing_that_knative_refuses() -> None:
    for file in CI_VALUES:
        rendered = Rendered(files=[file])
        if "Knative" not in rendered.text:
            continue
        assert not NOT_IN_KNATIVE & set(rendered.predictor)
        assert len(rendered.container["ports"]) == 1
        assert "lifecycle" not in rendered.container
        assert all("valueFrom" not in each for each in rendered.container["env"])
        assert rendered.container["readinessProbe"]["successThreshold"] == 1
        assert {kind for each in rendered.predictor["volumes"] for kind in each} <= {
            "name",
            "emptyDir",
            "secret",
        }


def test_a_rollout_takes_no_pod_away_before_there_is_another() -> None:
    strategy = Rendered().predictor["deploymentStrategy"]
    assert strategy == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    given = {"maxSurge": "50%", "maxUnavailable": "25%"}
    assert Rendered({"rollout": given}).predictor["deploymentStrategy"]["rollingUpdate"] == given


def test_traces_go_to_the_collector() -> None:
    environment = Rendered({"tracing": {"endpoint": "http://otel:4318", "ratio": 0.25}}).environment
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel:4318"
    assert environment["OTEL_TRACES_SAMPLER_ARG"] == "0.25"
    assert environment["OTEL_SERVICE_NAME"] == "cxr"
    assert not [name for name in Rendered().environment if name.startswith("OTEL")]


def test_more_variables_are_added_as_they_are() -> None:
    given = [{"name": "TZ", "value": "UTC"}, {"name": "A", "valueFrom": {"fieldRef": {}}}]
    assert Rendered({"extraEnv": given}).container["env"][-2:] == given


def test_the_smoke_test_asks_the_release_in_its_own_image() -> None:
    rendered = Rendered({"token": {"secretName": "tokens"}, "model": {"name": "chest"}})
    pod = rendered.one("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    container = pod["spec"]["containers"][0]
    assert container["image"] == rendered.container["image"]
    assert container["args"][0] == "chest"
    assert container["args"][1] == "http://cxr-predictor.models.svc"
    assert container["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "tokens", "key": "token"}
    module = CHART.parents[1] / (container["command"][-1].replace(".", "/") + ".py")
    assert module.is_file()


def test_names_follow_the_override() -> None:
    rendered = Rendered({"fullnameOverride": "lungs"}, release="2024.x")
    assert rendered.service["metadata"]["name"] == "lungs"
    assert container_of(rendered.service)["name"] == "kserve-container"
