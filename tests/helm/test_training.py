"""Training from the chart: one Job now, or a CronJob."""

import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.chart import CI_VALUES, Object, Rendered, environment_of
from train.__main__ import EXIT_ERROR, EXIT_REFUSED, EXIT_TERMINATED, _parser
from train.config import load_config

ROOT_VARIABLE = "SIGHTLINE_TRAIN_DATA__ROOT"
VALUES: Any = {
    "model": {"uri": "mlflow://cxr/7"},
    "mlflow": {"trackingUri": "http://mlflow:5000", "credentialsSecret": "mlflow"},
}
TRAINING: Any = {
    "enabled": True,
    "runsClaimName": "runs",
    "config": {
        "name": "cxr",
        "data": {
            "root": "s3://images",
            "classes": [
                {"key": "normal", "name": "N", "description": "-", "severity": "none"},
                {"key": "nodule", "name": "O", "description": "-", "severity": "high"},
            ],
        },
        "loop": {"epochs": 40},
    },
}


def rendered(**more: Any) -> Rendered:
    return Rendered(VALUES | {"training": TRAINING | more})


def pod_of(job: Object) -> Object:
    pod: Object = job["spec"]["template"]["spec"]
    return pod


def test_nothing_is_trained_unless_asked_for() -> None:
    assert not {"Job", "CronJob", "ConfigMap"} & set(Rendered(VALUES).kinds())


def test_the_job_runs_a_step_that_there_is_with_the_configuration_given() -> None:
    release = rendered()
    container = pod_of(release.one("Job"))["containers"][0]
    options = _parser().parse_args(container["args"])
    assert options.name == "retrain"
    file = options.config
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(file.parent) == mounts["config"]
    config = yaml.safe_load(release.one("ConfigMap")["data"][file.name])
    assert config == TRAINING["config"] | {"output": "/runs/cxr"}


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_the_trainer_accepts_the_configurations_that_the_chart_writes(
    values: Path, tmp_path: Path
) -> None:
    for written in Rendered(files=[values]).all("ConfigMap"):
        if "train.yaml" not in written["data"]:
            continue
        file = tmp_path / "train.yaml"
        file.write_text(written["data"]["train.yaml"])
        load_config(file, [], {ROOT_VARIABLE: "/data"})


def test_interruptions_are_free_and_errors_of_the_user_final() -> None:
    spec = rendered(retries=2).one("Job")["spec"]
    assert spec["backoffLimit"] == 2
    drained, ended, final = spec["podFailurePolicy"]["rules"]
    assert drained["action"] == ended["action"] == "Ignore"
    assert drained["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert ended["onExitCodes"]["values"] == [128 + signal.SIGUSR1, EXIT_TERMINATED]
    assert final["action"] == "FailJob"
    assert final["onExitCodes"]["values"] == [EXIT_ERROR, EXIT_REFUSED]
    assert final["onExitCodes"]["containerName"] == "train"
    # Kubernetes accepts the policy with this alone.
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["ttlSecondsAfterFinished"] == 604800
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 120


def test_images_come_from_a_volume_or_from_where_the_configuration_says() -> None:
    with_claim = pod_of(rendered(dataClaimName="images").one("Job"))
    assert environment_of(with_claim["containers"][0])[ROOT_VARIABLE] == "/data"
    data = next(each for each in with_claim["volumes"] if each["name"] == "data")
    assert data["persistentVolumeClaim"] == {"claimName": "images", "readOnly": True}
    without = pod_of(rendered().one("Job"))["containers"][0]
    assert ROOT_VARIABLE not in environment_of(without)


def test_the_trainer_reads_the_variable_that_says_where_the_images_are(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(rendered(dataClaimName="images").one("ConfigMap")["data"]["train.yaml"])
    container = pod_of(rendered(dataClaimName="images").one("Job"))["containers"][0]
    variables = environment_of(container) | {"SIGHTLINE_TRAIN_DATA__THREADS": "4"}
    assert str(load_config(file, [], variables).data.root) == variables[ROOT_VARIABLE] == "/data"


def test_secrets_become_variables() -> None:
    container = pod_of(rendered(envSecrets=["storage"]).one("Job"))["containers"][0]
    names = [each["secretRef"]["name"] for each in container["envFrom"]]
    assert names == ["mlflow", "storage"]
    assert environment_of(container)["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_a_schedule_makes_a_cron_job_of_the_same_job() -> None:
    cron = rendered(schedule="0 3 * * *", timeZone="Europe/Berlin").one("CronJob")["spec"]
    assert cron["schedule"] == "0 3 * * *"
    assert cron["timeZone"] == "Europe/Berlin"
    assert cron["concurrencyPolicy"] == "Forbid"
    job = rendered().one("Job")["spec"]
    assert cron["jobTemplate"]["spec"] == {
        key: each for key, each in job.items() if key != "ttlSecondsAfterFinished"
    }


def test_where_and_with_what_it_trains() -> None:
    pod = pod_of(
        rendered(
            nodeSelector={"gpu": "yes"},
            tolerations=[{"key": "gpu"}],
            serviceAccountName="training",
            resources={"limits": {"nvidia.com/gpu": 1}},
            imageTag="0.2.0",
        ).one("Job")
    )
    assert pod["nodeSelector"] == {"gpu": "yes"}
    assert pod["tolerations"] == [{"key": "gpu"}]
    assert pod["serviceAccountName"] == "training"
    container = pod["containers"][0]
    assert container["image"] == "sightline-train:0.2.0"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_training_pods_are_not_taken_for_predictors() -> None:
    labels = rendered().one("Job")["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == "training"
    assert "serving.kserve.io/inferenceservice" not in labels
