"""All that a namespace holds, so that nothing left behind is overlooked."""

from tests.cluster.kubectl import Kubectl

# What comes and goes by itself.
_PASSING = {"events", "events.events.k8s.io", "endpoints", "leases.coordination.k8s.io"}


def inventory(kubectl: Kubectl, namespace: str) -> set[str]:
    """Names of all objects of all kinds, those of the cluster included, as `kind/name`."""
    found = set(_listed(kubectl, "--namespaced=true", "-n", namespace))
    return found | {f"cluster {each}" for each in _listed(kubectl, "--namespaced=false")}


def _listed(kubectl: Kubectl, scope: str, *where: str) -> list[str]:
    kinds = set(kubectl("api-resources", scope, "--verbs=list,delete", "-o", "name").split())
    asked = ",".join(sorted(kinds - _PASSING))
    return kubectl("get", asked, *where, "-o", "name", "--ignore-not-found").split()
