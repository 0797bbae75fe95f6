"""What a namespace has before anything of ours is installed in it."""

from tests.cluster.kubectl import Kubectl, Object

_ACCEPTED = [
    {"type": kind, "status": "True", "reason": kind, "message": "", "observedGeneration": 1}
    for kind in ("Accepted", "ResolvedRefs")
]


def claims(namespace: str, *names: str) -> list[Object]:
    """Volumes that exist, and claims that are bound to them. Nothing is written: no pod runs."""
    room = {"storage": "1Gi"}
    common: Object = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    found: list[Object] = []
    for name in names:
        volume = f"{namespace}-{name}"
        reference = {"namespace": namespace, "name": name}
        source = {"capacity": room, "hostPath": {"path": "/nowhere"}, "claimRef": reference}
        found += [
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": volume},
                "spec": common | source,
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": reference,
                "spec": common | {"resources": {"requests": room}, "volumeName": volume},
            },
        ]
    return found


def accounts(namespace: str, *names: str) -> list[Object]:
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"namespace": namespace, "name": name},
        }
        for name in names
    ]


def secret(namespace: str, name: str, **values: str) -> Object:
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


# Classes that chart and manifests may name; those of the whole cluster.
CLASSES: list[Object] = [
    {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "clinical"},
        "value": 1000,
    },
    {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "nvidia"},
        "handler": "nvidia",
    },
]


def accept_routes(kubectl: Kubectl, namespace: str) -> None:
    """Say of every HTTPRoute what a gateway would: no gateway runs beside this control plane."""
    for route in kubectl.all("httproutes.gateway.networking.k8s.io", namespace):
        parents = [
            {
                "parentRef": parent,
                "controllerName": "example.com/gateway",
                "conditions": [
                    each | {"lastTransitionTime": route["metadata"]["creationTimestamp"]}
                    for each in _ACCEPTED
                ],
            }
            for parent in route["spec"]["parentRefs"]
        ]
        if "status" not in route or len(route["status"]["parents"]) != len(parents):
            name = route["metadata"]["name"]
            kubectl.patch_status("httproute", name, namespace, {"parents": parents})
