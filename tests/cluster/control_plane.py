"""A real Kubernetes control plane on this machine, with nodes that are pretended.

etcd, kube-apiserver, kube-controller-manager and kube-scheduler run as they are. In place of
kubelets there is kwok, which gives nodes a heartbeat and says of every pod on them that it runs,
and of a Job's that it has ended well: no image is pulled and no container is started.
"""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.cluster.credentials import Credentials
from tests.cluster.daemons import Daemon, free_ports
from tests.cluster.kubectl import Kubectl, Object, eventually
from tests.cluster.tools import program

SERVICES = "10.96.0.0/16"
_KUBERNETES = "10.96.0.1"
_KWOK = "kwok.x-k8s.io/node"
GPUS = 8


@dataclass(frozen=True)
class ControlPlane:
    """What is needed to use it."""

    folder: Path
    credentials: Credentials
    admin: Kubectl


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Start all of it, with two nodes with CPUs and two with GPUs.

    Args:
        folder: for its data, keys and logs.
    """
    client, peer, secure, manager, scheduler = free_ports(5)
    server = f"https://127.0.0.1:{secure}"
    credentials = Credentials.create(folder, server, _KUBERNETES)
    with ExitStack() as running:

        def start(name: str, *flags: str) -> Daemon:
            return running.enter_context(Daemon(name, [program(name), *flags], folder))

        etcd = f"http://127.0.0.1:{client}"
        start(
            "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            # Nothing has to outlive the tests.
            "--unsafe-no-fsync",
        ).wait(lambda: _answers(f"{etcd}/health"))
        start(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={secure}",
            f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=Node,RBAC",
            f"--token-auth-file={credentials.file('tokens.csv')}",
            f"--tls-cert-file={credentials.file('apiserver.crt')}",
            f"--tls-private-key-file={credentials.file('apiserver.key')}",
            f"--service-account-key-file={credentials.file('sa.pub')}",
            f"--service-account-signing-key-file={credentials.file('sa.key')}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            # 127.0.0.1 is nothing that a Service may point at.
            "--endpoint-reconciler-type=none",
        ).wait(lambda: _answers(f"{server}/readyz", credentials))
        admin = Kubectl(credentials.kubeconfig("admin"), folder)
        for name, port, flags in (
            (
                "kube-controller-manager",
                manager,
                (
                    f"--service-account-private-key-file={credentials.file('sa.key')}",
                    f"--root-ca-file={credentials.file('ca.crt')}",
                    "--use-service-account-credentials=true",
                    "--horizontal-pod-autoscaler-sync-period=2s",
                ),
            ),
            ("kube-scheduler", scheduler, ()),
        ):
            login = credentials.kubeconfig(name)
            start(
                name,
                f"--kubeconfig={login}",
                f"--authentication-kubeconfig={login}",
                f"--authorization-kubeconfig={login}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                "--leader-elect=false",
                *flags,
            )
        start(
            "kwok",
            f"--kubeconfig={credentials.kubeconfig('kwok')}",
            f"--manage-nodes-with-annotation-selector={_KWOK}=fake",
            # Without leases the nodes would be taken for lost after a minute.
            "--node-lease-duration-seconds=40",
        )
        admin.apply(*(_node(name, gpus) for name, gpus in _NODES.items()))
        ready = ("wait", "--for=condition=Ready", "node", "--all", "--timeout=0")
        eventually(lambda: admin.run(*ready).returncode == 0, "nodes are ready")
        account = ("default", "default")
        eventually(lambda: admin.find("serviceaccount", *account), "namespaces get accounts")
        yield ControlPlane(folder, credentials, admin)


_NODES = {"cpu-1": 0, "cpu-2": 0, "gpu-1": GPUS, "gpu-2": GPUS}


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


def _answers(url: str, credentials: Credentials | None = None) -> bool:
    authority = str(credentials.file("ca.crt")) if credentials else None
    context = ssl.create_default_context(cafile=authority)
    try:
        return httpx.get(url, verify=context).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
