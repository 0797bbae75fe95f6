"""Where the bundle comes from, and what else is on volumes."""

from pathlib import Path
from typing import Any

import pytest

from tests.helm.chart import CHART, Object, Rendered, environment_of

MLFLOW: Any = {"trackingUri": "http://mlflow:5000"}


def mounted(container: Object, name: str) -> str | None:
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    return mounts.get(name)


def volume(rendered: Rendered, name: str) -> Object:
    found: Object = next(each for each in rendered.predictor["volumes"] if each["name"] == name)
    return found


def test_all_that_is_written_goes_to_a_volume() -> None:
    values: Object = {"requestLog": {"enabled": True}, "token": {"secretName": "tokens"}}
    for claims in ({}, {"engineCache": {"claimName": "engines"}}):
        rendered = Rendered(values | claims)
        places = [mount["mountPath"] for mount in rendered.container["volumeMounts"]]
        for name in ("SIGHTLINE_CACHE_DIR", "SIGHTLINE_REQUEST_LOG", "SIGHTLINE_TOKEN_FILE"):
            path = Path(rendered.environment[name])
            assert any(path.is_relative_to(place) for place in places), path


def test_the_choice_of_the_engine_outlives_pods_on_a_claim() -> None:
    rendered = Rendered({"engineCache": {"claimName": "engines"}})
    assert volume(rendered, "engine-cache")["persistentVolumeClaim"] == {"claimName": "engines"}
    assert mounted(rendered.container, "engine-cache") == "/var/cache/sightline"
    assert rendered.environment["SIGHTLINE_CACHE_DIR"] == "/var/cache/sightline"


def test_the_request_log_has_room_for_all_its_files() -> None:
    settings = {"request_log_max_bytes": 1000000, "request_log_files": 9}
    rendered = Rendered({"requestLog": {"enabled": True}, "settings": settings})
    assert int(volume(rendered, "request-log")["emptyDir"]["sizeLimit"]) >= 9000000
    assert Rendered().environment.get("SIGHTLINE_REQUEST_LOG") is None


def test_pods_that_share_a_claim_write_a_log_each() -> None:
    rendered = Rendered({"requestLog": {"enabled": True, "claimName": "logs"}})
    assert rendered.environment["SIGHTLINE_REQUEST_LOG"] == "/var/log/sightline/$(POD_NAME).jsonl"
    names = [each["name"] for each in rendered.container["env"]]
    # Kubernetes expands only what stands before.
    assert names.index("POD_NAME") < names.index("SIGHTLINE_REQUEST_LOG")


def test_the_token_comes_from_a_secret_that_is_there() -> None:
    rendered = Rendered({"token": {"secretName": "tokens", "key": "bearer.txt"}})
    assert volume(rendered, "token")["secret"] == {
        "secretName": "tokens",
        "items": [{"key": "bearer.txt", "path": "tokens"}],
    }
    assert rendered.environment["SIGHTLINE_TOKEN_FILE"] == "/etc/sightline/token/tokens"
    assert not rendered.all("Secret")


def test_credentials_are_attached_by_name_to_an_account_of_the_release() -> None:
    rendered = Rendered({"model": {"credentialsSecret": "storage"}})
    account = rendered.one("ServiceAccount")
    assert account["secrets"] == [{"name": "storage"}]
    assert account["automountServiceAccountToken"] is False
    assert rendered.predictor["serviceAccountName"] == account["metadata"]["name"] == "cxr"
    theirs = Rendered({"serviceAccount": {"create": False, "name": "models"}})
    assert not theirs.all("ServiceAccount")
    assert theirs.predictor["serviceAccountName"] == "models"


def test_a_storage_container_is_chosen_by_name() -> None:
    rendered = Rendered({"model": {"storageContainer": "ours"}})
    assert rendered.predictor["storageContainerName"] == "ours"
    assert "storageContainerName" not in Rendered().predictor


@pytest.mark.parametrize(("given", "stated"), [("7", "7"), (7, "7"), (20261121000, "20261121000")])
def test_a_version_may_be_a_number(given: Any, stated: str) -> None:
    environment = Rendered({"model": {"version": given}}).environment
    assert environment["SIGHTLINE_MODEL_VERSION"] == stated


def test_the_predictor_fetches_a_registered_version_itself() -> None:
    secret = {"credentialsSecret": "mlflow"}
    rendered = Rendered({"model": {"uri": "mlflow://cxr/7"}, "mlflow": MLFLOW | secret})
    assert rendered.environment["SIGHTLINE_BUNDLE"] == "models:/cxr/7"
    assert rendered.environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert "STORAGE_URI" not in rendered.environment
    assert rendered.container["envFrom"] == [{"secretRef": {"name": "mlflow"}}]
    assert not rendered.all("ClusterStorageContainer")


def test_or_an_init_container_fetches_it_and_the_version_is_still_stated() -> None:
    fetched = MLFLOW | {"fetchedBy": "storageContainer"}
    rendered = Rendered({"model": {"uri": "mlflow://cxr/7"}, "mlflow": fetched})
    assert rendered.environment["STORAGE_URI"] == "mlflow://cxr/7"
    assert rendered.environment["SIGHTLINE_MODEL_VERSION"] == "7"
    assert "SIGHTLINE_BUNDLE" not in rendered.environment
    assert "envFrom" not in rendered.container
    assert rendered.predictor["storageContainerName"] == "sightline-mlflow"
    alias = {"uri": "mlflow://cxr@champion", "allowAlias": True}
    assert (
        "SIGHTLINE_MODEL_VERSION" not in Rendered({"model": alias, "mlflow": fetched}).environment
    )


def test_the_storage_container_for_mlflow_runs_what_the_image_has() -> None:
    values = {
        "mlflow": MLFLOW | {"credentialsSecret": "mlflow"},
        "storageContainers": {"mlflow": {"create": True}},
    }
    spec = Rendered(values).one("ClusterStorageContainer")["spec"]
    assert spec["supportedUriFormats"] == [{"prefix": "mlflow://"}]
    assert spec["workloadType"] == "initContainer"
    container = spec["container"]
    # KServe looks for this name to see whether it has put the container in already.
    assert container["name"] == "storage-initializer"
    assert container["image"] == "sightline-serve-cpu:0.1.0"
    module = CHART.parents[1] / (container["command"][-1].replace(".", "/") + ".py")
    assert container["command"][:2] == ["python", "-m"]
    assert module.is_file()
    assert "args" not in container
    assert environment_of(container) == {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "TMPDIR": "/mnt/models",
    }


def test_the_restricted_storage_container_says_what_pod_security_asks_for() -> None:
    spec = Rendered({"storageContainers": {"restricted": {"create": True}}})
    context = spec.one("ClusterStorageContainer")["spec"]["container"]["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
