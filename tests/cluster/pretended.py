"""Nodes that are not there.

kwok stands for their kubelets: it gives them a heartbeat and says of every pod on them that it
runs, and of a Job's that it has ended well. No image is pulled and no container is started.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.control_plane import ControlPlane
from tests.cluster.daemons import Daemon
from tests.cluster.kubectl import Object, eventually
from tests.cluster.tools import program

_KWOK = "kwok.x-k8s.io/node"
GPUS = 8
_NODES = {"cpu-1": 0, "cpu-2": 0, "gpu-1": GPUS, "gpu-2": GPUS}


@contextmanager
def pretended_nodes(plane: ControlPlane) -> Iterator[None]:
    """Two nodes with CPUs and two with GPUs."""
    command = [
        program("kwok"),
        f"--kubeconfig={plane.credentials.kubeconfig('kwok')}",
        f"--manage-nodes-with-annotation-selector={_KWOK}=fake",
        # Without leases the nodes would be taken for lost after a minute.
        "--node-lease-duration-seconds=40",
    ]
    with Daemon("kwok", command, plane.folder):
        plane.admin.apply(*(_node(name, gpus) for name, gpus in _NODES.items()))
        ready = ("wait", "--for=condition=Ready", "node", "--all", "--timeout=0")
        eventually(lambda: plane.admin.run(*ready).returncode == 0, "nodes are ready")
        yield


def _node(name: str, gpus: int) -> Object:
    """A node that is not there, with labels and taints as clusters have them."""
    room = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "110"}
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": f"zone-{name[-1]}",
    }
    spec: Object = {}
    if gpus:
        room["nvidia.com/gpu"] = str(gpus)
        labels |= {"nvidia.com/gpu.present": "true", "nvidia.com/gpu.product": "NVIDIA-L4"}
        taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
        spec["taints"] = [taint]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {_KWOK: "fake"}},
        "spec": spec,
        "status": {"allocatable": room, "capacity": room},
    }
