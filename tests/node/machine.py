"""A real node: containerd, kubelet and kube-proxy, on a network of their own.

It has to run in namespaces of its own for mounts, network and processes, which `make test-node`
makes: whatever is started or mounted goes with the last process in them.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from tests.cluster.control_plane import ControlPlane
from tests.cluster.credentials import NODE
from tests.cluster.daemons import Daemon
from tests.cluster.kubectl import eventually
from tests.cluster.tools import BUILT, program

ADDRESS, GATEWAY = "172.30.0.2", "172.30.0.1"
PODS = "10.244.0.0/24"
PAUSE = "localhost/pause:tests"
IMAGES = BUILT.parent / "images"
_SOCKET = "/run/sightline/containerd.sock"


def make_network() -> None:
    """An address for the node, on a bridge that leads nowhere."""
    for command in (
        "ip link set lo up",
        "ip link add node0 type bridge",
        f"ip addr add {ADDRESS}/24 dev node0",
        "ip link set node0 up",
        f"ip route add default via {GATEWAY} dev node0",
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1",
    ):
        subprocess.run(command.split(), check=True)


@contextmanager
def node(plane: ControlPlane) -> Iterator[None]:
    """Start the node, with all images that `make test-node` has built."""
    folder = plane.folder / "node"
    folder.mkdir()
    Path(_SOCKET).parent.mkdir(parents=True)
    with ExitStack() as running:

        def start(name: str, *command: str) -> Daemon:
            return running.enter_context(Daemon(name, list(command), plane.folder))

        containerd = start("containerd", "containerd", "--config", _containerd(folder))
        containerd.wait(lambda: _ctr("version").returncode == 0)
        for archive in sorted(IMAGES.glob("*.tar")):
            done = _ctr("images", "import", str(archive))
            assert done.returncode == 0, f"{archive}: {done.stderr}"
        start(
            "kubelet",
            program("kubelet"),
            f"--config={_kubelet(plane, folder)}",
            f"--kubeconfig={plane.credentials.kubeconfig('kubelet')}",
            f"--hostname-override={NODE}",
            f"--node-ip={ADDRESS}",
            f"--root-dir={folder / 'kubelet'}",
            f"--cert-dir={folder / 'certificates'}",
        )
        start("kube-proxy", program("kube-proxy"), f"--config={_proxy(plane, folder)}")
        ready = ("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=0")

        def state() -> str:
            return plane.admin("get", "node", NODE, "-o", "jsonpath={.status.conditions}")

        eventually(lambda: plane.admin.run(*ready).returncode == 0, "the node is ready", state)
        yield


def _ctr(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["ctr", f"--address={_SOCKET}", "--namespace=k8s.io", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def _containerd(folder: Path) -> str:
    plugins = folder / "cni"
    plugins.mkdir()
    networks = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods0",
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": PODS}]],
                    "dataDir": str(folder / "addresses"),
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }
    (plugins / "10-pods.conflist").write_text(json.dumps(networks))
    file = folder / "containerd.toml"
    file.write_text(f"""version = 2
root = "{folder / "containerd"}"
state = "/run/sightline/containerd"
[grpc]
  address = "{_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # Without the right to raise a score, runc would fail.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{plugins}"
""")
    return str(file)


def _kubelet(plane: ControlPlane, folder: Path) -> Path:
    resolver = folder / "resolv.conf"
    resolver.write_text("")
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "x509": {"clientCAFile": str(plane.credentials.file("ca.crt"))},
            "anonymous": {"enabled": False},
        },
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{_SOCKET}",
        "resolvConf": str(resolver),
        "podLogsDir": str(plane.folder / "pods"),
        # A disk that is small, and not the node's, must not drive the pods away.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "enforceNodeAllocatable": ["pods"],
        "nodeStatusUpdateFrequency": "5s",
    }
    file = folder / "kubelet.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def _proxy(plane: ControlPlane, folder: Path) -> Path:
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(plane.credentials.kubeconfig("kube-proxy"))},
        "hostnameOverride": NODE,
        "mode": "iptables",
        "clusterCIDR": PODS,
        # These settings of the kernel are read-only in a network that is not the machine's.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
    file = folder / "kube-proxy.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def missing() -> list[str]:
    """Programs of Debian's that a node needs and that are not there."""
    wanted = ("containerd", "runc", "ctr", "ip", "iptables", "conntrack", "prometheus")
    return [name for name in wanted if shutil.which(name) is None]
