"""A real Prometheus that scrapes the pods as the chart's PodMonitors say.

prometheus-operator is not there, and Debian's Prometheus cannot ask Kubernetes for pods: a thread
writes them into a file of targets, with the labels that the PodMonitors give.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.cluster.control_plane import ControlPlane
from tests.cluster.daemons import Daemon, answers
from tests.cluster.kubectl import Object
from tests.node.machine import ADDRESS

PORT = 9090
URL = f"http://{ADDRESS}:{PORT}"
INTERVAL_S = 2
_SERVICE = "serving.kserve.io/inferenceservice"
_LOOK_S = 1.0


@contextmanager
def prometheus(plane: ControlPlane, namespace: str) -> Iterator[None]:
    """Scrape the pods of a namespace."""
    targets = plane.folder / "targets.json"
    targets.write_text("[]")
    config = plane.folder / "prometheus.yaml"
    discovery = {"files": [str(targets)], "refresh_interval": "1s"}
    job = {"job_name": "pods", "file_sd_configs": [discovery]}
    every = {"scrape_interval": f"{INTERVAL_S}s", "scrape_timeout": f"{INTERVAL_S}s"}
    config.write_text(yaml.safe_dump({"global": every, "scrape_configs": [job]}))
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={plane.folder / 'prometheus'}",
        f"--web.listen-address={ADDRESS}:{PORT}",
    ]
    stop = threading.Event()
    writer = threading.Thread(target=_write, args=(plane, namespace, targets, stop))
    with Daemon("prometheus", command, plane.folder) as daemon:
        daemon.wait(lambda: answers(f"{URL}/-/ready"))
        writer.start()
        try:
            yield
        finally:
            stop.set()
            writer.join()


def _write(plane: ControlPlane, namespace: str, file: Path, stop: threading.Event) -> None:
    while not stop.wait(_LOOK_S):
        found = plane.admin.run("get", "pods", "-n", namespace, "-o", "json")
        if found.returncode == 0:
            groups = [_group(each) for each in json.loads(found.stdout)["items"] if _runs(each)]
            written = file.with_suffix(".new")
            written.write_text(json.dumps(groups))
            written.replace(file)


def _runs(pod: Object) -> bool:
    return pod["status"].get("phase") == "Running" and bool(pod["status"].get("podIP"))


def _group(pod: Object) -> Object:
    labels = pod["metadata"]["labels"]
    found = {
        "namespace": pod["metadata"]["namespace"],
        "pod": pod["metadata"]["name"],
        "release": labels["app.kubernetes.io/instance"],
    }
    if _SERVICE in labels:
        found[_SERVICE.replace(".", "_").replace("/", "_")] = labels[_SERVICE]
    return {"targets": [f"{pod['status']['podIP']}:8080"], "labels": found}
