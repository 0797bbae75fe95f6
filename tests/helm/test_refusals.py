"""Values that are wrong together are refused, and the message says what to do."""

from typing import Any

import pytest

from tests.helm.chart import Rendered, refusal, template

KNATIVE: Any = {"deploymentMode": "Knative", "autoscaling": {"type": "knative"}}
ROUTE: Any = {"route": {"type": "httpRoute", "parentRefs": [{"name": "public"}]}}
MLFLOW: Any = {"mlflow": {"trackingUri": "http://mlflow"}}
GATEWAY: Any = [{"namespaceSelector": {}}]
TRAINING: Any = {"enabled": True, "config": {"name": "cxr"}, "runsClaimName": "runs"}


def keda(**more: Any) -> Any:
    return {"type": "keda", "keda": {"serverAddress": "http://prometheus"} | more}


@pytest.mark.parametrize(
    ("values", "said", "remedy"),
    [
        # What is served
        ({"model": {"uri": ""}}, "model.uri is empty", "--set model.uri="),
        ({"model": {"uri": "models/cxr/7"}}, 'model.uri is "models/cxr/7"', "s3://models/cxr/7"),
        ({"model": {"uri": "models:/cxr/7"}}, 'model.uri is "models:/cxr/7"', "mlflow://cxr/7"),
        ({"model": {"uri": "s3:///cxr"}}, 'model.uri is "s3:///cxr"', "s3://models/cxr/7"),
        ({"model": {"uri": "runs://1/a"}}, "KServe cannot read", "mlflow://NAME/VERSION"),
        ({"model": {"uri": "https://u:p@h/b"}}, "user or password", "model.credentialsSecret"),
        (
            {"model": {"uri": "mlflow://cxr@champion"}, **MLFLOW},
            "an alias",
            "model.allowAlias=true",
        ),
        (
            {"model": {"uri": "mlflow://cxr/latest"}, **MLFLOW},
            "mlflow://cxr/latest",
            "with a number",
        ),
        ({"model": {"uri": "mlflow://cxr"}, **MLFLOW}, "mlflow://cxr", "mlflow://NAME/VERSION"),
        ({"model": {"uri": "mlflow://cxr/7"}}, "mlflow.trackingUri is empty", "address of MLflow"),
        (
            {"storageContainers": {"mlflow": {"create": True}}},
            "mlflow.trackingUri is empty",
            "address of MLflow",
        ),
        (
            {
                "model": {"credentialsSecret": "storage"},
                "serviceAccount": {"create": False, "name": "models"},
            },
            "serviceAccount.create is false",
            "Add it to those of models yourself",
        ),
        (
            {"serviceAccount": {"create": False}},
            "serviceAccount.name is empty",
            "name of a service account",
        ),
        (
            {"model": {"uri": "pvc://models/cxr", "storageContainer": "ours"}},
            "no container fetches pvc://models/cxr",
            "Leave model.storageContainer empty",
        ),
        # Images
        ({"image": {"tag": "latest"}}, 'image.tag is "latest"', "Name a version"),
        (
            {"canary": {"enabled": True, "imageTag": "latest"}, **ROUTE},
            'canary.imageTag is "latest"',
            "Name a version",
        ),
        ({"training": {"imageTag": "latest"}}, 'training.imageTag is "latest"', "Name a version"),
        # The pod
        (
            {"resources": {"requests": {"cpu": 1, "memory": "4Gi"}, "limits": {"cpu": 1}}},
            "resources.limits has no memory",
            "Set resources.limits.memory",
        ),
        (
            {"resources": {"limits": {"cpu": 1, "memory": "4Gi"}}},
            "resources.requests has no cpu",
            "Set resources.requests.cpu",
        ),
        (
            {"extraEnv": [{"name": "SIGHTLINE_ENGINE", "value": "openvino"}]},
            "extraEnv has SIGHTLINE_ENGINE",
            "settings",
        ),
        (
            {"extraEnv": [{"name": "PYTHONPATH", "value": "/x"}]},
            "belongs to KServe",
            "leave it out",
        ),
        (
            {"shutdown": {"gracePeriodSeconds": 39}},
            "shutdown.gracePeriodSeconds is 39, and what has been accepted may take 40 s",
            "Raise it",
        ),
        (
            {"shutdown": {"gracePeriodSeconds": 49, "preStopSleepSeconds": 10}},
            "may take 50 s",
            "leave it null",
        ),
        (
            {"settings": {"max_images": 200}},
            "settings.max_images is 200, more than settings.max_queue, 128",
            "Lower the one",
        ),
        (
            {"settings": {"max_upload_bytes": 2000000}},
            "settings.max_upload_bytes is 2000000, less than settings.max_body_bytes, 33554432",
            "Raise the one",
        ),
        (
            {"requestLog": {"claimName": "logs"}},
            "requestLog.enabled is false",
            "requestLog.enabled=true",
        ),
        (
            {"rollout": {"maxSurge": 0, "maxUnavailable": 0}},
            "nothing could ever be rolled out",
            "Set one of them to 1",
        ),
        # Autoscaling
        (
            {"autoscaling": {"keda": {"serverAddress": "http://prometheus"}}},
            "autoscaling.type is hpa, and autoscaling.keda.serverAddress",
            "Set autoscaling.type=keda",
        ),
        (
            {"autoscaling": {"type": "keda"}},
            "autoscaling.keda.serverAddress is empty",
            "address of Prometheus",
        ),
        (
            {"autoscaling": keda(authenticationRef="auth")},
            "needed together",
            "or neither",
        ),
        (
            {"autoscaling": {"minReplicas": 7}},
            "autoscaling.maxReplicas is 6, less than autoscaling.minReplicas, 7",
            "raise it",
        ),
        (
            {"autoscaling": {"type": "knative"}},
            "deploymentMode is Standard",
            "deploymentMode=Knative",
        ),
        ({"deploymentMode": "Knative"}, "autoscaling.type is hpa", "knative or none"),
        (
            {"deploymentMode": "Knative", "autoscaling": keda()},
            "autoscaling.type is keda",
            "knative or none",
        ),
        (
            {"autoscaling": {"minReplicas": 0}},
            "nothing would start a pod again",
            "at least 1, or take Knative mode",
        ),
        (
            {"autoscaling": {"type": "none", "minReplicas": 0}},
            "nothing would start a pod again",
            "at least 1",
        ),
        (
            {"autoscaling": keda() | {"minReplicas": 0}},
            "no metrics of pods",
            "autoscaling.keda.query",
        ),
        (
            {"autoscaling": keda(query="sum(x)") | {"minReplicas": 0}},
            "podDisruptionBudget.enabled is true",
            "podDisruptionBudget.enabled=false",
        ),
        (
            KNATIVE | {"autoscaling": {"type": "knative", "minReplicas": 0}},
            "podDisruptionBudget.enabled is true",
            "podDisruptionBudget.enabled=false",
        ),
        # Routes and canaries
        ({"route": {"type": "httpRoute"}}, "route.parentRefs is empty", "name the Gateway"),
        ({"route": {"hostnames": ["a.example"]}}, "route.type is kserve", "route.type=httpRoute"),
        (KNATIVE | ROUTE, "Knative's own ingress", "set route.type to kserve"),
        (
            {"canary": {"enabled": True, "uri": "s3://models/cxr/8"}},
            "in Standard mode only the chart's HTTPRoute divides requests",
            "Set route.type=httpRoute and route.parentRefs, or deploymentMode=Knative",
        ),
        ({"canary": {"enabled": True}, **ROUTE}, "the same as the first", "Set one of them"),
        (
            {"canary": {"uri": "s3://models/cxr/8"}},
            "canary.enabled is false",
            "canary.enabled=true",
        ),
        (
            {"canary": {"enabled": True, "uri": "models/8"}, **ROUTE},
            'canary.uri is "models/8"',
            "s3://models/cxr/7",
        ),
        # Network
        (
            {"networkPolicy": {"enabled": True}},
            "networkPolicy.ingress.gateway is empty",
            "Name the gateway's pods",
        ),
        (
            {"networkPolicy": {"enabled": True, "ingress": {"gateway": GATEWAY}}},
            "s3://models/cxr/7 could not be fetched",
            "Name the storage",
        ),
        (
            {
                "networkPolicy": {"enabled": True, "ingress": {"gateway": GATEWAY}},
                "model": {"uri": "pvc://models"},
                "podMonitor": {"enabled": True},
            },
            "Prometheus could not scrape",
            "Name its pods",
        ),
        # Knative
        (KNATIVE | {"shutdown": {"preStopSleepSeconds": 5}}, "no preStop", "leave it 0"),
        (
            KNATIVE | {"requestLog": {"enabled": True, "claimName": "logs"}},
            "all would write one file",
            "leave the claim out",
        ),
        (
            KNATIVE | {"settings": {"timeout_s": 600}},
            "max-revision-timeout-seconds is 600",
            "lower settings.timeout_s",
        ),
        # Training
        ({"training": {"enabled": True}}, "training.config is empty", "docs/training.md"),
        (
            {"training": {"enabled": True, "config": {"name": "cxr"}}},
            "training.runsClaimName is empty",
            "Name a PersistentVolumeClaim",
        ),
        ({"training": TRAINING}, "mlflow.trackingUri is empty", "address of MLflow"),
        (
            {"training": TRAINING | {"config": {"output": "x"}}, **MLFLOW},
            "training.config has output",
            "Leave it out",
        ),
    ],
)
def test_refused_with_the_remedy(values: Any, said: str, remedy: str) -> None:
    message = refusal(values)
    assert said in message
    assert remedy in message


@pytest.mark.parametrize("release", ["2nd", "cxr.v2", "a" * 41])
def test_a_name_that_kserve_would_refuse_is_refused_here(release: str) -> None:
    message = refusal({}, release=release)
    assert release in message
    assert "Set fullnameOverride" in message


def test_the_longest_name_leaves_room_for_the_longest_label() -> None:
    rendered = Rendered({"canary": {"enabled": True, "uri": "s3://a/b"}, **ROUTE}, release="a" * 40)
    for service in rendered.all("InferenceService"):
        assert len(f"isvc.{service['metadata']['name']}-predictor") <= 63


@pytest.mark.parametrize(
    "uri",
    [
        "s3://models/cxr/7",
        "gs://models/cxr",
        "pvc://claim/path",
        "oci://registry.example/models/cxr:7",
        "oci://registry.example:5000/models/cxr@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4",
        "oci+native://registry.example:5000/models/cxr:7",
        "https://example.com/cxr.tar.gz",
        "https://account.blob.core.windows.net/models/cxr",
        "hf://organisation/model:revision",
        "hdfs://namenode/models",
        "webhdfs://namenode:9870/models",
    ],
)
def test_addresses_of_kserve_are_accepted(uri: str) -> None:
    assert Rendered({"model": {"uri": uri}}).environment["STORAGE_URI"] == uri


def test_an_alias_is_accepted_when_it_is_meant() -> None:
    model = {"uri": "mlflow://cxr@champion", "allowAlias": True}
    assert (
        Rendered({"model": model, **MLFLOW}).environment["SIGHTLINE_BUNDLE"]
        == "models:/cxr@champion"
    )


def test_without_any_value_the_message_says_which_is_wanted() -> None:
    assert "--set model.uri=" in template().stderr
