"""`helm install` of every values file, against the real API server, webhooks and controllers.

The nodes are pretended (see pretended.py): what is shown is that everything is accepted,
admitted, reconciled and scheduled, not that a container runs. No gateway and no controller of
Knative or KEDA runs; where a status is theirs, `surroundings` or the test itself writes it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

from tests.cluster.inventory import inventory
from tests.cluster.kubectl import Kubectl, Object, eventually
from tests.cluster.surroundings import CLASSES, accept_routes, accounts, claims, secret
from tests.helm.chart import CHART, CI_VALUES

RELEASE = "cxr"
PREDICTOR = "cxr-predictor"
HPA, KEDA, KNATIVE = (
    "horizontalpodautoscalers.autoscaling",
    "scaledobjects.keda.sh",
    "services.serving.knative.dev",
)
ROUTES = "httproutes.gateway.networking.k8s.io"


@dataclass(frozen=True)
class Outcome:
    """What a values file comes to in the cluster."""

    scaler: str = "hpa"
    minimum: int = 2
    # Those that KServe makes.
    routes: tuple[str, ...] = (RELEASE, PREDICTOR)
    # KServe's own storage initializer does not say what Pod Security `restricted` asks for.
    security: str = "restricted"
    # Beside what every release in Standard mode has: kinds and names of what else must be there.
    others: tuple[str, ...] = ("poddisruptionbudget/cxr",)


OUTCOMES = {
    "analyst": Outcome(routes=(), others=("deployment/cxr-analyst",), security="baseline"),
    "canary": Outcome(
        routes=("cxr-route",), others=("deployment/cxr-canary-predictor",), security="baseline"
    ),
    "default": Outcome(security="baseline"),
    "fixed": Outcome(scaler="none", minimum=1, routes=(), others=()),
    "gpu": Outcome(scaler="none", security="baseline"),
    "httproute": Outcome(routes=("cxr-route",), security="baseline"),
    "keda": Outcome(scaler="keda", others=("podmonitor/cxr",), security="baseline"),
    "keda-zero": Outcome(scaler="keda", minimum=0, others=(), security="baseline"),
    "knative": Outcome(scaler="knative"),
    "knative-analyst": Outcome(scaler="knative"),
    "knative-canary": Outcome(scaler="knative"),
    "mlflow": Outcome(),
    "mlflow-alias": Outcome(others=("clusterstoragecontainer/sightline-mlflow",)),
    "production": Outcome(
        minimum=3, routes=("cxr-route",), others=("networkpolicy/cxr", "podmonitor/cxr")
    ),
    "monitoring": Outcome(others=("prometheusrule/cxr", "podmonitor/cxr"), security="baseline"),
    "pvc": Outcome(),
    "retraining": Outcome(others=("cronjob/cxr-training",)),
    "training": Outcome(),
}
FILES = {path.stem.removesuffix("-values"): path for path in CI_VALUES}
STANDARD = [name for name, outcome in OUTCOMES.items() if outcome.scaler != "knative"]


def test_every_values_file_is_tried() -> None:
    assert set(OUTCOMES) == set(FILES)


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    kubectl.apply(*CLASSES)
    which = request.node.name.split("[")[-1].strip("]").replace("_", "-")
    security = OUTCOMES.get(which, Outcome()).security
    with kubectl.namespace(f"chart-{which}", security) as namespace:
        kubectl.apply(
            *claims(namespace, "models", "engines", "requests", "images", "runs"),
            *accounts(namespace, "models", "training"),
            secret(namespace, "storage", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b"),
            secret(namespace, "mlflow", MLFLOW_TRACKING_TOKEN="a"),
            secret(namespace, "cxr-tokens", token="a"),
        )
        yield namespace


def helm(kubectl: Kubectl, *arguments: str) -> str:
    done = kubectl.helm(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(kubectl: Kubectl, namespace: str, file: Path, chart: Path = CHART) -> None:
    helm(kubectl, "install", RELEASE, str(chart), "-n", namespace, "--values", str(file))


def template(deployment: Object) -> Object:
    found: Object = deployment["spec"]["template"]
    return found


def environment(deployment: Object) -> dict[str, str]:
    (container,) = template(deployment)["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}


def rolled_out(kubectl: Kubectl, name: str, namespace: str) -> Object:
    """A Deployment whose pods are all of its last template and run."""

    def look() -> Object | None:
        found = kubectl.find("deployment", name, namespace)
        if found is None:
            return None
        status, wanted = found.get("status", {}), found["spec"]["replicas"]
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")]
        return found if current and counts == [wanted] * 3 else None

    def state() -> Any:
        pods = [each["status"] for each in kubectl.all("pods", namespace)]
        return kubectl.find("deployment", name, namespace), pods

    return eventually(look, f"deployment {name} is rolled out in {namespace}", state)


def ready(kubectl: Kubectl, name: str, namespace: str) -> Object:
    """An InferenceService that KServe says is ready."""

    def look() -> Object | None:
        accept_routes(kubectl, namespace)
        found = kubectl.get("inferenceservice", name, namespace)
        conditions = {each["type"]: each for each in found.get("status", {}).get("conditions", [])}
        return found if conditions.get("Ready", {}).get("status") == "True" else None

    def state() -> Any:
        routes = [each.get("status") for each in kubectl.all(ROUTES, namespace)]
        return kubectl.get("inferenceservice", name, namespace).get("status"), routes

    return eventually(look, f"inferenceservice {name} is ready in {namespace}", state)


def names(kubectl: Kubectl, kind: str, namespace: str) -> set[str]:
    return {each["metadata"]["name"] for each in kubectl.all(kind, namespace)}


@pytest.mark.parametrize("name", STANDARD)
def test_a_release_is_installed_changed_put_back_and_gone(
    kubectl: Kubectl, namespace: str, name: str
) -> None:
    outcome, before = OUTCOMES[name], inventory(kubectl, namespace)
    install(kubectl, namespace, FILES[name])
    ready(kubectl, RELEASE, namespace)
    installed = template(rolled_out(kubectl, PREDICTOR, namespace))
    check(kubectl, namespace, outcome)
    # A change that reaches the pods, and back.
    change = ("--reuse-values", "--set", "settings.log_level=debug")
    helm(kubectl, "upgrade", RELEASE, str(CHART), "-n", namespace, *change)
    eventually(lambda: level(kubectl, namespace) == "debug", "the upgrade reaches the deployment")
    rolled_out(kubectl, PREDICTOR, namespace)
    helm(kubectl, "rollback", RELEASE, "1", "-n", namespace)
    eventually(lambda: level(kubectl, namespace) == "info", "the rollback reaches the deployment")
    assert template(rolled_out(kubectl, PREDICTOR, namespace)) == installed
    helm(kubectl, "uninstall", RELEASE, "-n", namespace)
    eventually(
        lambda: inventory(kubectl, namespace) <= before or None,
        f"nothing of {name} is left",
        lambda: inventory(kubectl, namespace) - before,
    )


def replicas(kubectl: Kubectl, namespace: str) -> int:
    found: int = kubectl.get("deployment", PREDICTOR, namespace)["spec"]["replicas"]
    return found


def level(kubectl: Kubectl, namespace: str) -> str:
    deployment = kubectl.get("deployment", PREDICTOR, namespace)
    return environment(deployment)["SIGHTLINE_LOG_LEVEL"]


def check(kubectl: Kubectl, namespace: str, outcome: Outcome) -> None:
    """Service, autoscaler, routes and pods as the values ask for them."""
    ports = {each["port"] for each in kubectl.get("service", PREDICTOR, namespace)["spec"]["ports"]}
    assert 80 in ports
    # Beside that of what the analyst keeps.
    hpas = names(kubectl, HPA, namespace) - {f"{RELEASE}-primary"}
    scaled = names(kubectl, KEDA, namespace)
    assert (hpas, scaled) == {
        "hpa": ({RELEASE}, set()),
        "keda": (set(), {RELEASE}),
        "none": (set(), set()),
    }[outcome.scaler]
    if hpas:
        spec = kubectl.get("hpa", RELEASE, namespace)["spec"]
        assert spec["scaleTargetRef"]["name"] == PREDICTOR
        assert spec["minReplicas"] == outcome.minimum
    if outcome.scaler in ("hpa", "none"):
        eventually(
            lambda: replicas(kubectl, namespace) == outcome.minimum, "there are enough replicas"
        )
    assert names(kubectl, ROUTES, namespace) == set(outcome.routes)
    for other in outcome.others:
        kind, _, name = other.partition("/")
        kubectl.get(kind, name, namespace)
    # They run: Pod Security has let them in, and there is a node that they fit on.
    label = f"serving.kserve.io/inferenceservice={RELEASE}"
    pods = json.loads(kubectl("get", "pods", "-n", namespace, "-l", label, "-o", "json"))["items"]
    assert {each["status"]["phase"] for each in pods} == {"Running"}
    assert not any("kube-api-access" in json.dumps(each["spec"]["volumes"]) for each in pods)


def test_kserve_s_own_fetcher_is_kept_out_by_pod_security_and_ours_is_let_in(
    kubectl: Kubectl, namespace: str
) -> None:
    """Why there is `storageContainers.restricted`."""
    uri = "model.uri=s3://models/cxr/7"
    helm(kubectl, "install", RELEASE, str(CHART), "-n", namespace, "--set", uri)

    def failure() -> str:
        found = kubectl.find("deployment", PREDICTOR, namespace) or {}
        conditions = found.get("status", {}).get("conditions", [])
        return "".join(each["message"] for each in conditions if each["type"] == "ReplicaFailure")

    refused = eventually(failure, "the pods are refused")
    assert 'violates PodSecurity "restricted' in refused
    assert 'container "storage-initializer"' in refused
    assert 'container "kserve-container"' not in refused
    ours = "storageContainers.restricted.create=true,model.storageContainer=sightline-restricted"
    helm(kubectl, "upgrade", RELEASE, str(CHART), "-n", namespace, "--set", f"{uri},{ours}")
    eventually(lambda: not failure() or None, "the pods are let in")
    rolled_out(kubectl, PREDICTOR, namespace)
    helm(kubectl, "uninstall", RELEASE, "-n", namespace)


def test_a_gpu_release_runs_on_nodes_with_gpus(kubectl: Kubectl, namespace: str) -> None:
    fetched = "model.storageContainer=sightline-restricted,storageContainers.restricted.create=true"
    values = ("--values", str(FILES["gpu"]), "--set", fetched)
    helm(kubectl, "install", RELEASE, str(CHART), "-n", namespace, *values)
    rolled_out(kubectl, PREDICTOR, namespace)
    pods = kubectl.all("pods", namespace)
    assert {each["spec"]["nodeName"] for each in pods} == {"gpu-1", "gpu-2"}
    helm(kubectl, "uninstall", RELEASE, "-n", namespace)


def knative_service(kubectl: Kubectl, namespace: str) -> Object:
    return eventually(
        lambda: kubectl.find(KNATIVE, PREDICTOR, namespace), "KServe makes a Knative Service"
    )


def test_in_knative_mode_there_is_a_knative_service_that_scales_to_zero(
    kubectl: Kubectl, namespace: str
) -> None:
    before = inventory(kubectl, namespace)
    install(kubectl, namespace, FILES["knative"])
    made = template(knative_service(kubectl, namespace))
    annotations = made["metadata"]["annotations"]
    assert annotations["autoscaling.knative.dev/min-scale"] == "0"
    assert annotations["autoscaling.knative.dev/max-scale"] == "10"
    assert annotations["autoscaling.knative.dev/target"] == "8"
    assert made["spec"]["containerConcurrency"] == 64
    assert kubectl.find("deployment", PREDICTOR, namespace) is None
    helm(kubectl, "uninstall", RELEASE, "-n", namespace)
    eventually(lambda: inventory(kubectl, namespace) <= before or None, "nothing is left")


def test_in_knative_mode_the_canary_gets_its_share_of_the_traffic(
    kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    values = yaml.safe_load(FILES["knative-canary"].read_text())
    stable = tmp_path / "stable.yaml"
    stable.write_text(yaml.safe_dump(values | {"canary": {"enabled": False}}))
    install(kubectl, namespace, stable)
    knative_service(kubectl, namespace)
    revision = f"{PREDICTOR}-00001"
    # Knative's controllers are not here: this is what they say of a first revision that runs.
    conditions: list[Any] = [
        {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind in ("Ready", "ConfigurationsReady", "RoutesReady")
    ]
    status = {
        "observedGeneration": 1,
        "conditions": conditions,
        "latestCreatedRevisionName": revision,
        "latestReadyRevisionName": revision,
        "traffic": [{"revisionName": revision, "latestRevision": True, "percent": 100}],
        "url": "http://cxr-predictor.example.com",
    }
    kubectl.patch_status(KNATIVE, PREDICTOR, namespace, status)
    service = ready(kubectl, RELEASE, namespace)
    component = service["status"]["components"]["predictor"]
    assert component["latestRolledoutRevision"] == revision
    file = str(FILES["knative-canary"])
    helm(kubectl, "upgrade", RELEASE, str(CHART), "-n", namespace, "--values", file)

    def shares() -> dict[str, int] | None:
        traffic = kubectl.get(KNATIVE, PREDICTOR, namespace)["spec"].get("traffic", [])
        found = {each.get("revisionName", "latest"): each["percent"] for each in traffic}
        return found if len(found) > 1 else None

    assert eventually(shares, "traffic is split") == {"latest": 20, revision: 80}
    changed = environment(kubectl.get(KNATIVE, PREDICTOR, namespace))
    assert changed["SIGHTLINE_MODEL_NAME"] == RELEASE


@pytest.fixture(scope="module")
def earlier_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart as of an earlier release, which has other versions in its description."""
    chart = Path(copytree(CHART, tmp_path_factory.mktemp("earlier") / "sightline"))
    description = yaml.safe_load((chart / "Chart.yaml").read_text())
    description |= {"version": "0.0.9", "appVersion": "0.0.9"}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(description))
    return chart


@pytest.mark.parametrize("name", ["mlflow", "production", "retraining"])
def test_a_release_of_an_earlier_chart_is_upgraded(
    kubectl: Kubectl, namespace: str, earlier_chart: Path, name: str
) -> None:
    install(kubectl, namespace, FILES[name], earlier_chart)
    rolled_out(kubectl, PREDICTOR, namespace)
    uid = kubectl.get("deployment", PREDICTOR, namespace)["metadata"]["uid"]
    values = ("--values", str(FILES[name]))
    helm(kubectl, "upgrade", RELEASE, str(CHART), "-n", namespace, *values)
    deployment = rolled_out(kubectl, PREDICTOR, namespace)
    # The same one: nothing that cannot be changed has changed.
    assert deployment["metadata"]["uid"] == uid
    helm(kubectl, "uninstall", RELEASE, "-n", namespace)
