"""What holds for every pod that is made of `k8s/`, whatever it runs."""

import copy
import re
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from .rendered import (
    ALL_PODS,
    APPLIED,
    K8S,
    SHARED,
    TRAINING,
    Pod,
    bytes_of,
    cores,
    name_of,
    pods_of,
    render,
)
from .security import violations

every_pod = pytest.mark.parametrize(
    ("directory", "pod"), [each[1:] for each in ALL_PODS], ids=[each[0] for each in ALL_PODS]
)
every_directory = pytest.mark.parametrize("directory", APPLIED, ids=name_of)


def test_all_that_is_promised_is_there() -> None:
    promised = {"cpu", "gpu", "kueue", "multi-gpu", "multi-node", "release", "retrain", "tune"}
    names = {name_of(directory) for directory in APPLIED}
    assert names == {f"training/overlays/{name}" for name in promised} | {
        "training/shared", "mlflow/sqlite", "mlflow/postgres",
    }  # fmt: skip
    named = {"release", "retrain", "tune"}
    assert {name for name, _, _ in ALL_PODS} == {
        *(f"training/overlays/{name}: Job train" for name in promised - named),
        "training/overlays/release: Job release",
        "training/overlays/retrain: CronJob retrain",
        "training/overlays/tune: Job tune",
        "mlflow/sqlite: Deployment mlflow",
        "mlflow/postgres: Deployment mlflow",
        "mlflow/postgres: StatefulSet postgres",
    }  # fmt: skip


@every_pod
def test_a_restricted_namespace_takes_the_pod(directory: Path, pod: Pod) -> None:
    assert list(violations(pod.spec)) == []


def _drop(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda spec: spec.pop(name)


def _in_pod(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda spec: spec["securityContext"].update({name: value})


def _in_container(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda spec: spec["containers"][0]["securityContext"].update({name: value})


@pytest.mark.parametrize(
    ("spoil", "noticed"),
    [
        (_drop("securityContext"), "runAsNonRoot"),
        (_drop("automountServiceAccountToken"), "token"),
        (_in_pod("runAsUser", 1000), "runAsUser is not above 10000"),
        (_in_pod("seccompProfile", {"type": "Unconfined"}), "seccompProfile"),
        (_in_container("allowPrivilegeEscalation", True), "allowPrivilegeEscalation"),
        (_in_container("readOnlyRootFilesystem", False), "root file system"),
        (_in_container("capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}), "capabilities"),
        (_in_container("privileged", True), "privileged"),
        (lambda spec: spec.update(hostNetwork=True), "hostNetwork"),
        (lambda spec: spec["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "hostPath"),
    ],
)
def test_a_pod_that_asks_for_more_is_noticed(
    spoil: Callable[[dict[str, Any]], object], noticed: str
) -> None:
    spec = copy.deepcopy(ALL_PODS[0][2].spec)
    spoil(spec)
    assert any(noticed in text for text in violations(spec))


@every_directory
def test_nothing_needs_rights_in_the_cluster(directory: Path) -> None:
    kinds = {manifest["kind"] for manifest in render(directory)}
    assert kinds <= {
        "ConfigMap", "CronJob", "Deployment", "Job", "NetworkPolicy", "PersistentVolumeClaim",
        "Service", "StatefulSet",
    }  # fmt: skip
    assert not any("namespace" in manifest["metadata"] for manifest in render(directory))


@every_pod
def test_a_service_of_the_namespace_sets_no_variable(directory: Path, pod: Pod) -> None:
    # Kubernetes would set MLFLOW_PORT=tcp://... for a Service named mlflow.
    assert pod.spec["enableServiceLinks"] is False


@every_pod
def test_requests_and_limits_are_told(directory: Path, pod: Pod) -> None:
    for container in pod.containers:
        requests, limits = (container["resources"][kind] for kind in ("requests", "limits"))
        assert requests.keys() == limits.keys() >= {"cpu", "memory", "ephemeral-storage"}
        assert cores(requests["cpu"]) <= cores(limits["cpu"])
        for name in ("memory", "ephemeral-storage"):
            assert bytes_of(requests[name]) <= bytes_of(limits[name])
        gpus = "nvidia.com/gpu"
        assert requests.get(gpus) == limits.get(gpus)
        # What lies in these volumes counts as the container's.
        scratch = [v["emptyDir"] for v in pod.volumes.values() if "emptyDir" in v]
        memory = [v for v in scratch if v.get("medium") == "Memory"]
        disk = [v for v in scratch if v not in memory]
        assert sum(bytes_of(v["sizeLimit"]) for v in memory) < bytes_of(limits["memory"])
        for volume in disk:
            assert bytes_of(volume["sizeLimit"]) <= bytes_of(limits["ephemeral-storage"])


@every_pod
def test_the_image_has_a_tag_that_stays(directory: Path, pod: Pod) -> None:
    for container in pod.containers:
        name, _, tag = container["image"].rpartition(":")
        assert name
        assert re.fullmatch(r"\d+(\.\d+)+(-[a-z]+)?", tag)
        assert container["imagePullPolicy"] == "IfNotPresent"


@every_pod
def test_every_volume_is_there_and_used(directory: Path, pod: Pod) -> None:
    for container in pod.containers:
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == pod.volumes.keys()
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(set(paths)) == len(paths)
    there = render(directory) + (render(SHARED) if directory.is_relative_to(TRAINING) else [])
    names = {(each["kind"], each["metadata"]["name"]) for each in there}
    for volume in pod.volumes.values():
        if "configMap" in volume:
            assert ("ConfigMap", volume["configMap"]["name"]) in names
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        assert claim is None or ("PersistentVolumeClaim", claim) in names


@every_directory
def test_no_config_map_is_left_over(directory: Path) -> None:
    manifests = render(directory)
    used = {
        volume["configMap"]["name"]
        for pod in pods_of(manifests)
        for volume in pod.volumes.values()
        if "configMap" in volume
    }
    assert used == {e["metadata"]["name"] for e in manifests if e["kind"] == "ConfigMap"}


@every_pod
def test_every_secret_that_is_needed_is_explained(directory: Path, pod: Pod) -> None:
    told = "".join(each.read_text(encoding="utf-8") for each in directory.glob("*.yaml"))
    for container in pod.containers:
        for each in container.get("env", []):
            needed = each.get("valueFrom", {}).get("secretKeyRef")
            if needed is not None:
                assert f"# kubectl create secret generic {needed['name']}" in told.replace(
                    "#   kubectl", "# kubectl"
                )
                assert f"--from-literal={needed['key']}=" in told
        # Others may not be there at all.
        assert all(each["secretRef"]["optional"] for each in container.get("envFrom", []))


@every_directory
def test_selectors_find_their_pods(directory: Path) -> None:
    manifests = render(directory)
    pods = list(pods_of(manifests))
    if directory == SHARED:
        pods = [pod for _, place, pod in ALL_PODS if place.is_relative_to(TRAINING)]
    for manifest in manifests:
        spec, kind = manifest.get("spec", {}), manifest["kind"]
        if kind in ("Deployment", "StatefulSet"):
            (owned,) = (pod for pod in pods if pod.owner == manifest)
            assert spec["selector"]["matchLabels"].items() <= owned.labels.items()
        elif kind in ("Service", "NetworkPolicy"):
            wanted = spec["selector"] if kind == "Service" else spec["podSelector"]["matchLabels"]
            found = [pod for pod in pods if wanted.items() <= pod.labels.items()]
            assert found
            if kind == "Service":
                for port in spec["ports"]:
                    named = {
                        (own["name"], own["containerPort"])
                        for pod in found
                        for container in pod.containers
                        for own in container.get("ports", [])
                    }
                    assert (port["targetPort"], port["port"]) in named
    for manifest in manifests:
        if manifest["kind"] == "StatefulSet":
            services = [e["metadata"]["name"] for e in manifests if e["kind"] == "Service"]
            assert manifest["spec"]["serviceName"] in services


@every_pod
def test_a_policy_guards_the_pod(directory: Path, pod: Pod) -> None:
    there = render(directory) + (render(SHARED) if directory.is_relative_to(TRAINING) else [])
    policies = [each["spec"] for each in there if each["kind"] == "NetworkPolicy"]
    assert any(
        policy["podSelector"]["matchLabels"].items() <= pod.labels.items()
        and "Ingress" in policy["policyTypes"]
        for policy in policies
    )


@pytest.mark.parametrize("directory", APPLIED, ids=name_of)
def test_labels_say_what_belongs_together(directory: Path) -> None:
    for manifest in render(directory):
        if manifest["kind"] != "ConfigMap":
            labels = manifest["metadata"]["labels"]
            assert labels["app.kubernetes.io/part-of"] == "sightline"
    for pod in pods_of(render(directory)):
        name = "app.kubernetes.io/name"
        assert pod.labels[name] == pod.owner["metadata"]["labels"][name]


@pytest.mark.parametrize(
    "file", sorted(K8S.rglob("*.yaml")), ids=lambda file: file.relative_to(K8S).as_posix()
)
def test_the_first_comment_says_what_to_change(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line[2:] for line in takewhile(lambda line: line.startswith("#"), lines))
    assert re.search(r"\b(Change(, together)?|Nothing to change): ", comment)
