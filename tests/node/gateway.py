"""A real gateway: Traefik, as Gateway API has it, beside the node."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.control_plane import ControlPlane
from tests.cluster.daemons import Daemon, answers
from tests.cluster.kubectl import Object, eventually
from tests.cluster.tools import program

NAME, NAMESPACE = "public", "gateways"
PORT, ADMIN_PORT = 8000, 8085
URL = f"http://127.0.0.1:{PORT}"
_OBJECTS: list[Object] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
    {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "traefik"},
        "spec": {"controllerName": "traefik.io/gateway-controller"},
    },
    {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "gatewayClassName": "traefik",
            "listeners": [
                {
                    "name": "web",
                    "protocol": "HTTP",
                    "port": PORT,
                    "allowedRoutes": {"namespaces": {"from": "All"}},
                }
            ],
        },
    },
]


@contextmanager
def gateway(plane: ControlPlane) -> Iterator[None]:
    """Start it, and wait for its Gateway."""
    plane.admin.apply(*_OBJECTS)
    command = [
        program("traefik"),
        f"--entrypoints.web.address=127.0.0.1:{PORT}",
        f"--entrypoints.traefik.address=127.0.0.1:{ADMIN_PORT}",
        "--ping=true",
        "--providers.kubernetesgateway=true",
        "--providers.kubernetesgateway.statusaddress.ip=127.0.0.1",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--accesslog=false",
    ]
    environment = os.environ | {"KUBECONFIG": str(plane.credentials.kubeconfig("gateway"))}
    with Daemon("traefik", command, plane.folder, environment) as daemon:
        daemon.wait(lambda: answers(f"http://127.0.0.1:{ADMIN_PORT}/ping"))
        where = ("-n", NAMESPACE, f"gateway/{NAME}", "--timeout=0")
        programmed = ("wait", "--for=condition=Programmed", *where)
        eventually(lambda: plane.admin.run(*programmed).returncode == 0, "it is programmed")
        yield
