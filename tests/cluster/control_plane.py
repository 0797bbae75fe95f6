"""A real Kubernetes control plane on this machine: all of it but nodes."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.credentials import Credentials
from tests.cluster.daemons import Daemon, answers
from tests.cluster.kubectl import Kubectl, eventually
from tests.cluster.tools import program
from tests.predictor.servers import free_ports

LOOPBACK = "127.0.0.1"
SERVICES = "10.96.0.0/16"
_KUBERNETES = "10.96.0.1"


@dataclass(frozen=True)
class ControlPlane:
    """What is needed to use it."""

    folder: Path
    credentials: Credentials
    admin: Kubectl


@contextmanager
def control_plane(folder: Path, address: str = LOOPBACK) -> Iterator[ControlPlane]:
    """Start etcd, kube-apiserver, kube-controller-manager and kube-scheduler.

    Args:
        folder: for their data, keys and logs.
        address: of this machine, that the API server listens on; pods reach it at one that is
            not a loopback's.
    """
    client, peer, secure, manager, scheduler = free_ports(5)
    server = f"https://{address}:{secure}"
    credentials = Credentials.create(folder, server, [address, _KUBERNETES])
    authority = ssl.create_default_context(cafile=str(credentials.file("ca.crt")))
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
        ).wait(lambda: answers(f"{etcd}/health"))
        start(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            f"--bind-address={address}",
            f"--secure-port={secure}",
            f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=Node,RBAC",
            f"--token-auth-file={credentials.file('tokens.csv')}",
            f"--tls-cert-file={credentials.file('apiserver.crt')}",
            f"--tls-private-key-file={credentials.file('apiserver.key')}",
            f"--service-account-key-file={credentials.file('sa.pub')}",
            f"--service-account-signing-key-file={credentials.file('sa.key')}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            # A loopback address is nothing that a Service may point at.
            f"--endpoint-reconciler-type={'none' if address == LOOPBACK else 'lease'}",
        ).wait(lambda: answers(f"{server}/readyz", authority))
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
        account = ("default", "default")
        eventually(lambda: admin.find("serviceaccount", *account), "namespaces get accounts")
        yield ControlPlane(folder, credentials, admin)
