"""The manifests below `k8s/` as `kubectl apply -k` would send them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
TRAINING = K8S / "training"
OVERLAYS = TRAINING / "overlays"
SHARED = TRAINING / "shared"
# What people apply; the rest is part of it.
APPLIED = sorted(
    file.parent
    for file in K8S.rglob("kustomization.yaml")
    if file.parent.name != "base" and "components" not in file.parts
)
# What the Job's controller adds to its pods.
JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
INDEX = "JOB_COMPLETION_INDEX"
_BUILT = ROOT / "build" / "tools" / "kustomize"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod template with what it is part of."""

    owner: Manifest
    labels: dict[str, str]
    spec: dict[str, Any]
    job: dict[str, Any] | None

    @property
    def name(self) -> str:
        return f"{self.owner['kind']} {self.owner['metadata']['name']}"

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def volumes(self) -> dict[str, dict[str, Any]]:
        own = {each["name"]: each for each in self.spec.get("volumes", [])}
        claims = self.owner["spec"].get("volumeClaimTemplates", [])
        return own | {
            each["metadata"]["name"]: {"persistentVolumeClaim": {"claimName": None}}
            for each in claims
        }

    def volume_at(self, container: dict[str, Any], path: str) -> tuple[str, bool]:
        """Kind of the volume that a path lies on, and whether it can be written; or `image`."""
        mounts = [
            mount
            for mount in container["volumeMounts"]
            if f"{path}/".startswith(f"{mount['mountPath'].rstrip('/')}/")
        ]
        if not mounts:
            return "image", not container["securityContext"]["readOnlyRootFilesystem"]
        mount = max(mounts, key=lambda each: len(each["mountPath"]))
        (kind,) = (key for key in self.volumes[mount["name"]] if key != "name")
        return kind, kind != "configMap" and not mount.get("readOnly", False)


def kustomize() -> list[str]:
    """The command that renders.

    Raises:
        RuntimeError: there is none; says how to get one.
    """
    for command in (["kubectl", "kustomize"], [str(_BUILT), "build"]):
        if shutil.which(command[0]):
            return command
    raise RuntimeError(
        "the manifests are rendered by kubectl, which is not there: install it (1.27 or newer, "
        "https://kubernetes.io/docs/tasks/tools), or build what it renders with by Go 1.24 or "
        "newer: `make build/tools/kustomize`, as `make test` does by itself"
    )


@cache
def text_of(directory: Path) -> str:
    done = subprocess.run(
        [*kustomize(), str(directory)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # A field that kustomize will drop one day is still a warning today.
    assert not done.stderr, done.stderr
    return done.stdout


def render(directory: Path) -> list[Manifest]:
    """All objects of a kustomization; a fresh copy each time."""
    return list(yaml.safe_load_all(text_of(directory)))


def name_of(directory: Path) -> str:
    return directory.relative_to(K8S).as_posix()


def pods_of(manifests: list[Manifest]) -> Iterator[Pod]:
    for manifest in manifests:
        spec, job = manifest.get("spec", {}), None
        if manifest["kind"] == "CronJob":
            spec = job = spec["jobTemplate"]["spec"]
        elif manifest["kind"] == "Job":
            job = spec
        elif manifest["kind"] not in ("Deployment", "StatefulSet"):
            continue
        template = spec["template"]
        yield Pod(manifest, template["metadata"]["labels"], template["spec"], job)


ALL_PODS = [
    (f"{name_of(directory)}: {pod.name}", directory, pod)
    for directory in APPLIED
    for pod in pods_of(render(directory))
]
TRAINING_PODS = [each for each in ALL_PODS if each[2].job is not None]


def environment(pod: Pod, secrets: dict[str, str] | None = None, index: int = 0) -> dict[str, str]:
    """The variables of a pod's container as they will be set.

    Args:
        pod: whose first container is meant.
        secrets: values by their key in a Secret; one that is missing is a word.
        index: of the pod in an indexed Job.
    """
    found = {}
    (container,) = pod.containers
    for each in container.get("env", []):
        source = each.get("valueFrom", {})
        if "value" in each:
            found[each["name"]] = each["value"]
        elif "secretKeyRef" in source:
            found[each["name"]] = (secrets or {}).get(source["secretKeyRef"]["key"], "secret")
        else:
            assert source["fieldRef"]["fieldPath"] == f"metadata.labels['{JOB_NAME_LABEL}']"
            found[each["name"]] = pod.owner["metadata"]["name"]
    if (pod.job or {}).get("completionMode") == "Indexed":
        found[INDEX] = str(index)
    return found


def cores(quantity: str) -> float:
    return int(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def bytes_of(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([KMG]i)?", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[unit]


def entrypoint(stage: str) -> list[str]:
    """What a stage of the Dockerfile runs where the manifest has no command of its own."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    own = text.partition(f" AS {stage}\n")[2].partition("\nFROM ")[0]
    (found,) = re.findall(r"^ENTRYPOINT (\[.*\])$", own, re.MULTILINE)
    command: list[str] = json.loads(found)
    return command


def command_of(pod: Pod, index: int = 0) -> list[str]:
    """Command and arguments of a pod's container as the kubelet would start them."""
    (container,) = pod.containers
    values = environment(pod, index=index)
    words = [*container.get("command", entrypoint("train")), *container.get("args", [])]
    return [re.sub(r"\$\(([A-Z_]+)\)", lambda match: values[match[1]], word) for word in words]
