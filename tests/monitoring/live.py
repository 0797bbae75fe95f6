"""A release that is watched: predictors, load, and a Prometheus that scrapes as the chart says."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k8s.rollout.service import primary_of, release_of
from k8s.rollout.state import Verdict
from model.bundle import Bundle
from tests.helm.chart import NAMESPACE, Object, Rendered
from tests.helm.pods import deployment
from tests.monitoring.analyst import Analyst
from tests.monitoring.exporter import CLUSTER, exporter
from tests.monitoring.load import Load
from tests.monitoring.programs import Labels, Prometheus, Target
from tests.predictor.servers import RunningServer

VALUES: Any = {
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "route": {"type": "httpRoute", "parentRefs": [{"name": "public"}]},
    "analyst": {"enabled": True, "prometheus": {"address": "http://prometheus"}},
}
# A small house, so that it can be full; and little patience, so that it is lost in time.
FLAGS = {
    "engine": "onnxruntime",
    "max_queue": "16",
    "client_timeout_s": "1",
    "answer_cache_bytes": "40000",
    "engine_threads": "1",
    "decode_threads": "1",
}


@dataclass(frozen=True)
class Watched:
    """All that runs."""

    rendered: Rendered
    servers: list[RunningServer]
    load: Load
    analyst: Analyst
    prometheus: Prometheus


def target_labels(monitor: Object, workload: Object) -> Labels:
    """The labels that prometheus-operator would give the series of a Deployment's pod.

    https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PodMonitor
    """
    pod = workload["spec"]["template"]
    carried = pod["metadata"]["labels"]
    spec = monitor["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    for each in spec["selector"].get("matchExpressions", []):
        assert carried[each["key"]] in each["values"]
    assert spec["selector"].get("matchLabels", {}).items() <= carried.items()
    (container,) = pod["spec"]["containers"]
    assert endpoint["port"] in [port["name"] for port in container["ports"]]
    namespace = monitor["metadata"]["namespace"]
    labels = {
        "namespace": namespace,
        "pod": f"{workload['metadata']['name']}-5d9c7b-x2x4z",
        "container": container["name"],
        "endpoint": endpoint["port"],
        "job": f"{namespace}/{monitor['metadata']['name']}",
    }
    for key in spec.get("podTargetLabels", []):
        labels["".join(each if each.isalnum() else "_" for each in key)] = carried[key]
    for rule in endpoint["relabelings"]:
        assert set(rule) == {"targetLabel", "replacement"}, "only what is set is understood here"
        labels[rule["targetLabel"]] = rule["replacement"]
    return labels


def services(rendered: Rendered) -> list[Object]:
    """The one that the analyst makes, and the one of the chart."""
    target = rendered.service
    name = target["metadata"]["name"]
    primary = primary_of(release_of(target), name, f"{name}-primary")
    primary["metadata"] |= {"name": f"{name}-primary", "namespace": NAMESPACE}
    return [primary, target]


@contextmanager
def watched(bundle: Bundle, folder: Path) -> Iterator[Watched]:
    """Start two versions of the model and what scrapes them; the load is started by hand."""
    rendered = Rendered(VALUES)
    monitors = {each["metadata"]["name"]: each for each in rendered.all("PodMonitor")}
    deployments = [deployment(each) for each in services(rendered)]
    flags = [part for name, value in FLAGS.items() for part in (f"--{name}", value)]
    with ExitStack() as stack:
        servers: list[RunningServer] = []
        for version in map(str, range(7, 7 + len(deployments))):
            log = ("--request_log", str(folder / f"requests-{version}.jsonl"))
            arguments = ["--bundle", str(bundle.path), "--model_version", version, *flags, *log]
            servers.append(stack.enter_context(RunningServer(arguments)))
        targets = [
            Target(f"127.0.0.1:{server.http_port}", target_labels(monitors["cxr"], each))
            for server, each in zip(servers, deployments, strict=True)
        ]
        analyst = Analyst()
        analyst.looked(Verdict.ADVANCE, 2, 25)
        labels = target_labels(monitors["cxr-analyst"], rendered.one("Deployment"))
        targets.append(Target(stack.enter_context(exporter(analyst.registry)), labels))
        targets.append(Target(stack.enter_context(exporter(CLUSTER)), {}))
        rules = rendered.one("PrometheusRule")["spec"]
        for server in servers:
            server.wait_until_ready()
        prometheus = stack.enter_context(Prometheus(folder, targets, rules))
        load = Load(servers, [1, 1])
        prometheus.wait_until(f"sum(up) == {len(targets)}", "not everything is scraped")
        yield Watched(rendered, servers, load, analyst, prometheus)
