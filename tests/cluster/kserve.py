"""The real KServe controller, with its CRDs, RBAC and webhooks, beside a control plane."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.cluster.control_plane import ControlPlane
from tests.cluster.daemons import Daemon, answers
from tests.cluster.kubectl import Object, eventually
from tests.cluster.tools import MANIFESTS, manifest, program
from tests.predictor.servers import free_ports

NAMESPACE = "kserve"
GATEWAY = "kserve-ingress-gateway"


@contextmanager
def kserve(plane: ControlPlane) -> Iterator[Daemon]:
    """Install the CRDs of everything that the chart may use, and start KServe's controller."""
    install_crds(plane)
    # The webhooks come last: from then on they have to answer.
    plane.admin.apply(*_configuration())
    metrics, probes, webhook = free_ports(3)
    # The controller looks for its key pair where its temporary files are, and has no flag for it.
    temporary = plane.folder / "kserve"
    certificates = temporary / "k8s-webhook-server/serving-certs"
    certificates.mkdir(parents=True)
    for ending, name in (("crt", "tls.crt"), ("key", "tls.key")):
        shutil.copyfile(plane.credentials.file(f"webhook.{ending}"), certificates / name)
    environment = {
        "KUBECONFIG": str(plane.credentials.kubeconfig("kserve")),
        "POD_NAMESPACE": NAMESPACE,
        "TMPDIR": str(temporary),
    }
    command = [
        program("kserve"),
        f"--metrics-addr=127.0.0.1:{metrics}",
        f"--health-probe-addr=127.0.0.1:{probes}",
        f"--webhook-port={webhook}",
    ]
    with Daemon("kserve", command, plane.folder, environment) as daemon:
        daemon.wait(lambda: answers(f"http://127.0.0.1:{probes}/readyz"))
        plane.admin.apply(*_webhooks(plane, webhook))
        yield daemon


def install_crds(plane: ControlPlane) -> None:
    """CRDs as their projects publish them, whole."""
    found = [
        each
        for file in sorted(MANIFESTS.glob("*.yaml"))
        for each in _read(file)
        if each.get("kind") == "CustomResourceDefinition"
    ]
    for each in found:
        # Conversion webhooks of Knative and Gateway API have nobody who would answer.
        each["spec"].pop("conversion", None)
    plane.admin.apply(*found)
    ready = ("wait", "--for=condition=Established", "crd", "--all", "--timeout=0")
    eventually(lambda: plane.admin.run(*ready).returncode == 0, "CRDs are established")


def _read(file: Path) -> list[Object]:
    return [each for each in yaml.safe_load_all(file.read_text()) if each]


def _configuration() -> list[Object]:
    (config,) = _read(manifest("inferenceservice.yaml"))
    data = config["data"]
    data.pop("_example", None)
    # Gateway API, and no Istio; the mode is what every InferenceService of ours states.
    ingress = json.loads(data["ingress"])
    ingress |= {
        "enableGatewayApi": True,
        "kserveIngressGateway": f"{NAMESPACE}/{GATEWAY}",
        "disableIstioVirtualHost": True,
    }
    data["ingress"] = json.dumps(ingress)
    found = [
        _namespace(NAMESPACE, {"control-plane": "kserve-controller-manager"}),
        config,
        # KServe reads from it whether Knative may start with no pod.
        _namespace("knative-serving", {}),
        *_read(manifest("autoscaler.yaml")),
    ]
    for name in ("role.yaml", "role_binding.yaml", "service_account.yaml"):
        for each in _read(manifest(name)):
            if each["kind"] in ("ServiceAccount", "Role", "RoleBinding"):
                each["metadata"]["namespace"] = NAMESPACE
            for subject in each.get("subjects", []):
                subject["namespace"] = NAMESPACE
            found.append(each)
    (container,) = _read(manifest("default.yaml"))
    container["spec"]["container"]["image"] = "docker.io/kserve/storage-initializer:v0.20.0"
    return [*found, container]


def _namespace(name: str, labels: dict[str, str]) -> Object:
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _webhooks(plane: ControlPlane, port: int) -> list[Object]:
    """KServe's own, called at an address instead of through a Service that no node would serve."""
    authority = base64.b64encode(plane.credentials.file("ca.crt").read_bytes()).decode()
    found = _read(manifest("manifests.yaml"))
    for each in found:
        for webhook in each["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            url = f"https://127.0.0.1:{port}{path}"
            webhook["clientConfig"] = {"url": url, "caBundle": authority}
    return found
