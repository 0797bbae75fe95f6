"""The Pod Security Standard `restricted`, and what this project asks for beyond it.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Iterator
from typing import Any

_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
    "projected", "secret",
}  # fmt: skip
_PRIVATE = ("hostNetwork", "hostPID", "hostIPC")


def violations(spec: dict[str, Any]) -> Iterator[str]:
    """Say of a pod's specification what the namespace, or this project, would not have."""
    pod = spec.get("securityContext", {})
    for name in _PRIVATE:
        if spec.get(name):
            yield f"{name} is set"
    for volume in spec.get("volumes", []):
        for kind in volume.keys() - {"name"} - _VOLUMES:
            yield f"volume {volume['name']} is of kind {kind}"
    if pod.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        if not pod.get(name, 0) > 10000:
            yield f"{name} is not above 10000, and may be one of the node's"
    if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccompProfile is not RuntimeDefault"
    if pod.get("sysctls"):
        yield "sysctls are set"
    if spec.get("automountServiceAccountToken") is not False:
        yield "the token of a service account is mounted"
    if "serviceAccountName" in spec:
        yield "a service account is named, though nothing asks the API server"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        for text in _of_container(container):
            yield f"container {container['name']}: {text}"


def _of_container(container: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if own.get("privileged"):
        yield "it is privileged"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "the root file system can be written"
    if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
        yield "it keeps capabilities"
    for name in ("runAsUser", "runAsNonRoot", "seccompProfile", "procMount"):
        if name in own:
            yield f"{name} differs from the pod's"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "a port of the node is taken"
