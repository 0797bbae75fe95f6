"""How requests come in, to whom, and who may not."""

from typing import Any

from tests.helm.chart import Object, Rendered, environment_of

ROUTE: Any = {
    "type": "httpRoute",
    "parentRefs": [{"name": "public", "namespace": "gateways"}],
    "hostnames": ["cxr.example.com"],
}
VISIBILITY = "networking.kserve.io/visibility"


def rules(rendered: Rendered) -> list[Object]:
    found: list[Object] = rendered.one("HTTPRoute")["spec"]["rules"]
    return found


def test_kserve_s_ingress_is_left_alone_by_default() -> None:
    rendered = Rendered()
    assert not rendered.all("HTTPRoute")
    assert VISIBILITY not in rendered.service["metadata"]["labels"]


def test_with_a_route_of_its_own_kserve_makes_none() -> None:
    for route in (ROUTE, {"type": "clusterLocal"}):
        labels = Rendered({"route": route}).service["metadata"]["labels"]
        assert labels[VISIBILITY] == "cluster-local"


def test_the_route_sends_http_and_grpc_to_their_ports() -> None:
    rendered = Rendered({"route": ROUTE})
    route = rendered.one("HTTPRoute")
    assert route["spec"]["parentRefs"] == ROUTE["parentRefs"]
    assert route["spec"]["hostnames"] == ["cxr.example.com"]
    # Of KServe's name, it would be taken for KServe's.
    assert route["metadata"]["name"] not in ("cxr", "cxr-predictor")
    grpc, http = rules(rendered)
    assert grpc["matches"][0]["path"]["value"] == "/inference.GRPCInferenceService"
    assert grpc["backendRefs"] == [{"name": "cxr-predictor", "port": 8081, "weight": 1}]
    assert http["backendRefs"] == [{"name": "cxr-predictor", "port": 80, "weight": 1}]
    assert len(rules(Rendered({"route": ROUTE | {"grpc": False}}))) == 1


def test_grpc_is_routed_by_the_name_of_the_service_that_is_served() -> None:
    from kserve.protocol.grpc.grpc_predict_v2_pb2 import DESCRIPTOR

    service = DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
    assert rules(Rendered({"route": ROUTE}))[0]["matches"][0]["path"]["value"] == f"/{service}"


def test_the_route_waits_longer_than_the_predictor() -> None:
    rendered = Rendered({"route": ROUTE, "settings": {"timeout_s": 12.2}})
    assert {rule["timeouts"]["request"] for rule in rules(rendered)} == {"18s"}
    silent = rules(Rendered({"route": ROUTE | {"timeouts": False}}))
    assert not any("timeouts" in rule for rule in silent)


CANARY: Any = {"enabled": True, "uri": "s3://models/cxr/8", "weightPercent": 10}


def test_in_standard_mode_the_canary_is_a_second_service_behind_the_route() -> None:
    rendered = Rendered({"route": ROUTE, "canary": CANARY | {"replicas": 2, "version": "8"}})
    stable, canary = rendered.all("InferenceService")
    assert canary["metadata"]["name"] == "cxr-canary"
    predictor = canary["spec"]["predictor"]
    environment = environment_of(predictor["containers"][0])
    assert environment["STORAGE_URI"] == "s3://models/cxr/8"
    assert environment["SIGHTLINE_MODEL_VERSION"] == "8"
    # Clients must not notice which of them answers.
    assert environment["SIGHTLINE_MODEL_NAME"] == "cxr"
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 2)
    assert canary["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "none"
    spread = predictor["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
    assert spread == {"app": "isvc.cxr-canary-predictor"}
    assert stable == Rendered({"route": ROUTE}).service
    for rule, port in zip(rules(rendered), (8081, 80), strict=True):
        assert rule["backendRefs"] == [
            {"name": "cxr-predictor", "port": port, "weight": 90},
            {"name": "cxr-canary-predictor", "port": port, "weight": 10},
        ]


def test_a_canary_gets_nothing_until_it_is_given_a_share() -> None:
    canary = {"enabled": True, "uri": "s3://models/cxr/8"}
    refs = rules(Rendered({"route": ROUTE, "canary": canary}))[0]["backendRefs"]
    assert [ref["weight"] for ref in refs] == [100, 0]


def test_a_canary_may_be_another_image_of_the_same_model() -> None:
    digest = {"digest": "sha256:" + "0" * 64}
    canary = {"enabled": True, "imageTag": "0.2.0"}
    rendered = Rendered({"route": ROUTE, "canary": canary, "image": digest})
    container = rendered.all("InferenceService")[1]["spec"]["predictor"]["containers"][0]
    assert container["image"] == "sightline-serve-cpu:0.2.0"
    assert environment_of(container)["STORAGE_URI"] == "s3://models/cxr/7"


def test_in_knative_mode_the_canary_is_the_next_revision() -> None:
    knative: Any = {"deploymentMode": "Knative", "autoscaling": {"type": "knative"}}
    rendered = Rendered(knative | {"canary": CANARY})
    assert rendered.predictor["canaryTrafficPercent"] == 10
    assert rendered.environment["STORAGE_URI"] == "s3://models/cxr/8"
    assert not rendered.all("HTTPRoute")
    # Promoted, it is the same revision with all the requests.
    promoted = Rendered(knative | {"model": {"uri": CANARY["uri"]}}).predictor
    canary = rendered.predictor
    assert canary.pop("canaryTrafficPercent") == 10
    assert promoted == canary


GATEWAY = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}}]
PROMETHEUS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
STORAGE = [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 443}]}]
POLICY: Any = {
    "enabled": True,
    "ingress": {"gateway": GATEWAY, "prometheus": PROMETHEUS},
    "egress": {"storage": STORAGE},
}


def test_only_gateway_prometheus_and_the_smoke_test_come_in() -> None:
    rendered = Rendered({"networkPolicy": POLICY})
    spec = rendered.one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    requests, metrics = spec["ingress"]
    assert requests["from"][:-1] == GATEWAY
    ours = requests["from"][-1]["podSelector"]["matchLabels"]
    assert ours.items() <= rendered.one("Pod")["metadata"]["labels"].items()
    assert [port["port"] for port in requests["ports"]] == [8080, 8081]
    assert metrics["from"] == PROMETHEUS
    assert [port["port"] for port in metrics["ports"]] == [8080]


def test_only_names_and_storage_are_reached() -> None:
    dns, storage = Rendered({"networkPolicy": POLICY}).one("NetworkPolicy")["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert {port["protocol"] for port in dns["ports"]} == {"UDP", "TCP"}
    assert [storage] == STORAGE


def test_a_bundle_on_a_volume_needs_no_way_out() -> None:
    policy = {"enabled": True, "ingress": {"gateway": GATEWAY}}
    rendered = Rendered({"networkPolicy": policy, "model": {"uri": "pvc://models/cxr"}})
    assert len(rendered.one("NetworkPolicy")["spec"]["egress"]) == 1
    assert len(rendered.one("NetworkPolicy")["spec"]["ingress"]) == 1


def test_both_have_a_budget_of_their_own() -> None:
    budgets = Rendered({"route": ROUTE, "canary": CANARY}).all("PodDisruptionBudget")
    selectors = [budget["spec"]["selector"]["matchLabels"] for budget in budgets]
    assert [each["serving.kserve.io/inferenceservice"] for each in selectors] == [
        "cxr",
        "cxr-canary",
    ]


def selected(rendered: Rendered, kind: str) -> list[str]:
    spec = rendered.one(kind)["spec"]
    selector = spec.get("podSelector") or spec["selector"]
    found: list[str] = selector["matchExpressions"][0]["values"]
    return found


def test_policy_and_scraping_cover_the_canary_too() -> None:
    values = {"networkPolicy": POLICY, "podMonitor": {"enabled": True}, "route": ROUTE}
    for kind in ("NetworkPolicy", "PodMonitor"):
        assert selected(Rendered(values), kind) == ["cxr"]
        assert selected(Rendered(values | {"canary": CANARY}), kind) == ["cxr", "cxr-canary"]


def test_in_knative_mode_the_queue_proxy_is_let_in_on() -> None:
    values = {
        "deploymentMode": "Knative",
        "autoscaling": {"type": "knative"},
        "networkPolicy": POLICY,
    }
    requests, _, knative = Rendered(values).one("NetworkPolicy")["spec"]["ingress"]
    assert [port["port"] for port in requests["ports"]] == [8012, 8013, 8112]
    names = knative["from"][0]["namespaceSelector"]["matchLabels"]
    assert names == {"kubernetes.io/metadata.name": "knative-serving"}
    assert 9090 in [port["port"] for port in knative["ports"]]


def test_every_pod_is_scraped_where_it_serves_metrics() -> None:
    values = {"podMonitor": {"enabled": True, "intervalSeconds": 30, "labels": {"release": "p"}}}
    rendered = Rendered(values)
    monitor = rendered.one("PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "p"
    endpoint = monitor["spec"]["podMetricsEndpoints"][0]
    labelled = endpoint.pop("relabelings")
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "30s"}
    assert labelled == [{"targetLabel": "release", "replacement": "cxr"}]
    # Stable and canary are apart by it.
    assert monitor["spec"]["podTargetLabels"] == ["serving.kserve.io/inferenceservice"]
    assert endpoint["port"] in [port["name"] for port in rendered.container["ports"]]
    assert not Rendered().all("PodMonitor")


def test_in_knative_mode_the_port_has_knative_s_name() -> None:
    values = {
        "deploymentMode": "Knative",
        "autoscaling": {"type": "knative"},
        "podMonitor": {"enabled": True},
    }
    endpoint = Rendered(values).one("PodMonitor")["spec"]["podMetricsEndpoints"][0]
    assert endpoint["port"] == "user-port"
