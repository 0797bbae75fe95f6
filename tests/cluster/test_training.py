"""`kubectl apply -k` of everything below `k8s/`: created, admitted, scheduled, ended, deleted.

No container runs (see pretended.py): kwok says of a Job's pod that it has ended well.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.inventory import inventory
from tests.cluster.kubectl import Kubectl, Object, eventually
from tests.cluster.surroundings import claims, secret
from tests.k8s.rendered import K8S, OVERLAYS, SHARED

ALL_OVERLAYS = sorted(each.name for each in OVERLAYS.iterdir())
# How many pods a Job has, and how many GPUs each.
JOBS = {
    "cpu": ("train", 1, 0),
    "gpu": ("train", 1, 1),
    "kueue": ("train", 1, 1),
    "multi-gpu": ("train", 1, 4),
    "multi-node": ("train", 2, 4),
    "release": ("release", 1, 1),
    "tune": ("tune", 4, 1),
}


def test_every_overlay_is_tried() -> None:
    assert sorted([*JOBS, "retrain"]) == ALL_OVERLAYS


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    which = request.node.name.split("[")[-1].strip("]").replace("_", "-")
    with kubectl.namespace(f"training-{which}") as namespace:
        kubectl.apply(*claims(namespace, "dataset", "runs", "mlflow"))
        kubectl.apply(secret(namespace, "postgres", password="a", username="mlflow"))
        yield namespace


def apply(kubectl: Kubectl, namespace: str, directory: Path) -> None:
    kubectl("apply", "-n", namespace, "-k", str(directory))


def pods_of(kubectl: Kubectl, namespace: str, job: Object) -> list[Object]:
    """The pods that a Job owns."""
    uid = job["metadata"]["uid"]
    return [
        each
        for each in kubectl.all("pods", namespace)
        if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences", []))
    ]


def complete(kubectl: Kubectl, namespace: str, name: str) -> Object:
    def look() -> Object | None:
        found = kubectl.get("job", name, namespace)
        conditions = found.get("status", {}).get("conditions", [])
        kinds = {each["type"] for each in conditions if each["status"] == "True"}
        assert "Failed" not in kinds, conditions
        return found if "Complete" in kinds else None

    return eventually(look, f"job {name} is complete in {namespace}")


def check_pods(pods: list[Object], count: int, gpus: int) -> None:
    """As many as wanted, on nodes that have what they ask for, without a token."""
    assert len(pods) == count
    for pod in pods:
        node = pod["spec"]["nodeName"]
        assert node.startswith("gpu" if gpus else "cpu")
        assert "kube-api-access" not in json.dumps(pod["spec"].get("volumes", []))


@pytest.mark.parametrize("overlay", [name for name in JOBS if name != "kueue"])
def test_a_job_is_admitted_scheduled_and_completed(
    kubectl: Kubectl, namespace: str, overlay: str
) -> None:
    before = inventory(kubectl, namespace)
    name, count, gpus = JOBS[overlay]
    apply(kubectl, namespace, OVERLAYS / overlay)
    job = complete(kubectl, namespace, name)
    check_pods(pods_of(kubectl, namespace, job), count, gpus)
    # Applied again, it is the same Job: nothing that cannot be changed is written.
    apply(kubectl, namespace, OVERLAYS / overlay)
    assert kubectl.get("job", name, namespace)["metadata"]["uid"] == job["metadata"]["uid"]
    kubectl("delete", "-n", namespace, "-k", str(OVERLAYS / overlay))
    eventually(lambda: inventory(kubectl, namespace) <= before or None, "nothing is left")


def test_a_queued_job_waits_for_kueue(kubectl: Kubectl, namespace: str) -> None:
    apply(kubectl, namespace, OVERLAYS / "kueue")

    def suspended() -> Object | None:
        found = kubectl.get("job", "train", namespace)
        conditions = found.get("status", {}).get("conditions", [])
        return found if any(each["type"] == "Suspended" for each in conditions) else None

    job = eventually(suspended, "the Job is suspended")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    assert not kubectl.all("pods", namespace)
    # What Kueue does when it admits the Job; Kueue itself is not here.
    kubectl("patch", "job", "train", "-n", namespace, "-p", '{"spec": {"suspend": false}}')
    complete(kubectl, namespace, "train")


def test_a_retraining_is_started_from_its_cron_job(kubectl: Kubectl, namespace: str) -> None:
    before = inventory(kubectl, namespace)
    apply(kubectl, namespace, OVERLAYS / "retrain")
    assert kubectl.get("cronjob", "retrain", namespace)["spec"]["concurrencyPolicy"] == "Forbid"
    kubectl("create", "job", "--from=cronjob/retrain", "retrain-now", "-n", namespace)
    job = complete(kubectl, namespace, "retrain-now")
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("CronJob", "retrain")
    check_pods(pods_of(kubectl, namespace, job), 1, 1)
    kubectl("delete", "-n", namespace, "-k", str(OVERLAYS / "retrain"))
    eventually(lambda: inventory(kubectl, namespace) <= before or None, "nothing is left")


def test_overlays_share_a_namespace(kubectl: Kubectl, namespace: str) -> None:
    for overlay in ("gpu", "retrain", "tune", "release"):
        apply(kubectl, namespace, OVERLAYS / overlay)
    for name in ("train", "tune", "release"):
        complete(kubectl, namespace, name)


def test_what_trainings_share_is_made(kubectl: Kubectl) -> None:
    with kubectl.namespace("training-shared") as namespace:
        apply(kubectl, namespace, SHARED)
        claims = {each["metadata"]["name"] for each in kubectl.all("pvc", namespace)}
        assert claims == {"dataset", "runs"}
        assert kubectl.all("networkpolicies", namespace)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_mlflow_runs_in_the_cluster(kubectl: Kubectl, kind: str) -> None:
    with kubectl.namespace(f"mlflow-{kind}") as namespace:
        kubectl.apply(secret(namespace, "mlflow-postgres", password="a"))
        before = inventory(kubectl, namespace)
        apply(kubectl, namespace, K8S / "mlflow" / kind)
        wanted = {each["metadata"]["name"] for each in kubectl.all("pvc", namespace)}
        # A volume for each claim, as a provisioner would make it.
        for claim in wanted:
            volume, _ = claims(namespace, claim)
            volume["spec"]["capacity"] = {"storage": "1Ti"}
            found = kubectl.get("pvc", claim, namespace)["spec"]
            volume["spec"]["accessModes"] = found["accessModes"]
            kubectl.apply(volume)

        def available() -> bool:
            found = kubectl.all("deployments,statefulsets", namespace)
            return bool(found) and all(
                each.get("status", {}).get("readyReplicas", 0) == each["spec"].get("replicas", 1)
                for each in found
            )

        eventually(available, f"MLflow with {kind} runs")
        kubectl("delete", "-n", namespace, "-k", str(K8S / "mlflow" / kind))
        left = inventory(kubectl, namespace) - before
        # Claims of a StatefulSet stay with their data, on purpose.
        assert not {each for each in left if not each.startswith(("persistentvolume", "pod", "cl"))}


def test_pod_security_would_refuse_a_lesser_pod(kubectl: Kubectl, namespace: str) -> None:
    """That the namespace lets our pods in says something only if it keeps others out."""
    done = kubectl.run("run", "shell", "--image=example.com/shell", "-n", namespace)
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted' in done.stderr
