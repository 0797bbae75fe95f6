"""The analyst that the chart installs, and what is left to it."""

import json
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from k8s.rollout.names import REVISION, Names
from k8s.rollout.policy import Policy
from k8s.rollout.service import primary_of, release_of
from k8s.rollout.settings import Settings
from tests.helm.chart import CHART, Object, Rendered, container_of, refusal
from tests.helm.test_traffic import ROUTE

PROMETHEUS = {"address": "http://prometheus"}
ANALYST: Any = {"route": ROUTE, "analyst": {"enabled": True, "prometheus": PROMETHEUS}}
KNATIVE: Any = {
    "deploymentMode": "Knative",
    "autoscaling": {"type": "knative"},
    "analyst": {"enabled": True, "prometheus": PROMETHEUS},
}
NAMES = Names("cxr")
SCHEMA: Any = json.loads((CHART / "values.schema.json").read_text())["properties"]["analyst"]


def analyst(**more: Any) -> Any:
    return {"route": ROUTE, "analyst": ANALYST["analyst"] | more}


def configured(rendered: Rendered) -> Object:
    found: Object = rendered.one("ConfigMap")["data"]
    return found


def test_what_the_chart_writes_is_what_the_analyst_reads() -> None:
    settings = Settings.model_validate(
        yaml.safe_load(configured(Rendered(ANALYST))["analyst.yaml"])
    )
    assert settings.policy == Policy()
    assert settings.prometheus.matchers == 'namespace="models"'
    assert settings.model_name == "cxr"


def test_every_value_reaches_the_analyst() -> None:
    given = analyst(
        intervalSeconds=2.5,
        prometheus=PROMETHEUS | {"matchers": 'cluster="eu"', "tokenSecretName": "p"},
        references={"configMapName": "images"},
        policy={"steps": [1, 100], "on_silence": "probe", "errors": {"margin": 0.001}},
    )
    rendered = Rendered(given | {"token": {"secretName": "tokens"}})
    settings = Settings.model_validate(yaml.safe_load(configured(rendered)["analyst.yaml"]))
    assert settings.interval_s == 2.5
    assert settings.policy.steps == (1, 100)
    assert settings.policy.errors.margin == 0.001
    assert settings.policy.errors.margin_ratio == Policy().errors.margin_ratio
    assert settings.prometheus.matchers == 'namespace="models",cluster="eu"'
    mounted = {
        each["mountPath"] for each in container(rendered)["volumeMounts"] if each.get("readOnly")
    }
    files = (settings.prometheus.token_file, settings.references.token_file)
    for place in (settings.references.folder, *(file.rsplit("/", 1)[0] for file in files)):
        assert place in mounted


def container(rendered: Rendered) -> Object:
    found: Object = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"][0]
    return found


def test_the_policy_of_the_values_is_the_policy_of_the_code() -> None:
    """Whoever changes the one changes the other: values.yaml, values.schema.json, Policy."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())["analyst"]["policy"]
    assert values == json.loads(Policy().model_dump_json())
    compare(SCHEMA["properties"]["policy"], Policy)


def compare(declared: Object, model: type[BaseModel]) -> None:
    theirs = model.model_json_schema()
    assert set(declared["properties"]) == set(model.model_fields)
    for name, node in declared["properties"].items():
        inner = model.model_fields[name].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            compare(node, inner)
            continue
        for bound in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum"):
            assert node.get(bound) == theirs["properties"][name].get(bound), (name, bound)


def test_without_it_nothing_of_it_is_there() -> None:
    kinds = Rendered().kinds()
    assert not {"Role", "RoleBinding", "Lease", "Deployment"} & set(kinds)
    assert REVISION not in Rendered().predictor.get("annotations", {})


def test_the_route_is_the_analyst_s_and_the_same_as_the_chart_s() -> None:
    rendered = Rendered(ANALYST)
    assert "kind: HTTPRoute" in configured(rendered)["route.yaml"]
    assert rendered.text.count("kind: HTTPRoute") == 1
    assert rendered.one("HTTPRoute") == Rendered({"route": ROUTE}).one("HTTPRoute")
    assert rendered.one("HTTPRoute")["metadata"]["name"] == NAMES.route


def test_pods_say_which_spec_they_run_and_a_change_of_it_alone_changes_that() -> None:
    def revision(**values: Any) -> str:
        predictor = Rendered(ANALYST | values).predictor
        return str(predictor["annotations"][REVISION])

    first = revision()
    assert revision(networkPolicy={"enabled": False}) == first
    assert revision(model={"uri": "s3://models/cxr/8"}) != first
    assert revision(settings={"timeout_s": 20}) != first
    annotated = Rendered(ANALYST | {"podAnnotations": {"team": "imaging"}}).predictor
    assert annotated["annotations"]["team"] == "imaging"


def test_settings_of_the_analyst_do_not_restart_the_predictor() -> None:
    changed = Rendered(analyst(intervalSeconds=30, policy={"min_requests": 7}))
    assert changed.service == Rendered(ANALYST).service


def test_the_primary_is_spread_scaled_and_guarded_as_the_target_is() -> None:
    monitored = Rendered(ANALYST | {"podMonitor": {"enabled": True}})
    for kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget"):
        names = {each["metadata"]["name"] for each in monitored.all(kind)}
        assert {NAMES.target, NAMES.primary} <= names
    (pods, _) = sorted(monitored.all("PodMonitor"), key=lambda each: len(each["metadata"]["name"]))
    assert pods["spec"]["selector"]["matchExpressions"][0]["values"] == ["cxr", "cxr-primary"]
    primary = primary_of(release_of(monitored.service), NAMES.target, NAMES.primary)
    spread = primary["spec"]["predictor"]["topologySpreadConstraints"]
    assert {each["labelSelector"]["matchLabels"]["app"] for each in spread} == {
        "isvc.cxr-primary-predictor"
    }
    assert primary["metadata"]["labels"]["networking.kserve.io/visibility"] == "cluster-local"


def test_it_may_touch_only_what_it_says_by_name() -> None:
    for values in (ANALYST, KNATIVE):
        rules = Rendered(values).one("Role")["rules"]
        unnamed = [rule for rule in rules if "resourceNames" not in rule]
        assert [rule["resources"] for rule in unnamed] == [["events"]]
        assert unnamed[0]["verbs"] == ["create"]
        assert not any({"delete", "*", "list"} & set(rule["verbs"]) for rule in rules)
    names = {
        name
        for rule in Rendered(ANALYST).one("Role")["rules"]
        for name in rule.get("resourceNames", [])
    }
    assert {NAMES.target, NAMES.primary, NAMES.route, NAMES.record, NAMES.analyst} <= names


def test_only_it_has_a_token_and_it_runs_as_strictly_as_the_predictor() -> None:
    rendered = Rendered(ANALYST)
    pod = rendered.one("Deployment")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is True
    assert rendered.predictor["automountServiceAccountToken"] is False
    accounts = rendered.all("ServiceAccount")
    assert not any(each["automountServiceAccountToken"] for each in accounts)
    strict = container(rendered)["securityContext"]
    assert strict == container_of(rendered.service)["securityContext"]


def test_its_command_line_is_one_that_it_accepts() -> None:
    from k8s.rollout.__main__ import parser

    arguments = parser().parse_args([str(each) for each in container(Rendered(ANALYST))["args"]])
    assert (arguments.name, arguments.namespace, arguments.port) == ("cxr", "models", 8080)


def test_the_smoke_test_asks_the_primary() -> None:
    assert "http://cxr-primary-predictor.models.svc" in Rendered(ANALYST).text


def test_in_knative_mode_the_analyst_makes_the_service_from_what_the_chart_says() -> None:
    rendered = Rendered(KNATIVE)
    described = yaml.safe_load(configured(rendered)["inferenceservice.yaml"])
    plain = Rendered({key: value for key, value in KNATIVE.items() if key != "analyst"}).service
    assert described == plain
    assert rendered.text.count("kind: InferenceService") == 1
    assert not rendered.all("HTTPRoute")


def test_with_a_network_policy_it_reaches_what_it_needs() -> None:
    policy = {
        "enabled": True,
        "ingress": {"gateway": [{"namespaceSelector": {}}], "prometheus": [{"podSelector": {}}]},
    }
    values = ANALYST | {"networkPolicy": policy, "model": {"uri": "pvc://models/cxr"}}
    predictor, own = Rendered(values).all("NetworkPolicy")[::-1]
    assert own["metadata"]["name"] == NAMES.analyst
    admitted = predictor["spec"]["ingress"][0]["from"][-1]["podSelector"]["matchLabels"]
    labels = Rendered(values).one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert admitted.items() <= labels.items()


@pytest.mark.parametrize(
    ("values", "said", "remedy"),
    [
        (
            ANALYST
            | {
                "networkPolicy": {"enabled": True, "ingress": {"gateway": [{"podSelector": {}}]}},
                "model": {"uri": "pvc://models/cxr"},
            },
            "networkPolicy.ingress.prometheus is empty",
            "Name its pods",
        ),
        ({"analyst": ANALYST["analyst"]}, "route.type is kserve", "Set route.type=httpRoute"),
        (
            ANALYST | {"canary": {"enabled": True, "uri": "s3://models/cxr/8"}},
            "both would divide",
            "canary.enabled=false",
        ),
        (
            {"route": ROUTE, "analyst": {"enabled": True}},
            "analyst.prometheus.address is empty",
            "address of Prometheus",
        ),
        (
            analyst(policy={"on_silence": "probe"}),
            "there is nothing to send",
            "analyst.policy.on_silence=hold",
        ),
        (
            analyst(references={"claimName": "a", "configMapName": "b"}),
            "are both set",
            "keep the one",
        ),
        (analyst(imageTag="latest"), "which analyst has decided", "Name a version"),
        (
            ANALYST
            | {
                "autoscaling": {
                    "type": "keda",
                    "minReplicas": 0,
                    "keda": {"serverAddress": "http://p", "query": "sum(x)"},
                },
                "podDisruptionBudget": {"enabled": False},
            },
            "never becomes ready",
            "at least 1",
        ),
        (
            KNATIVE
            | {
                "autoscaling": {"type": "knative", "minReplicas": 0},
                "podDisruptionBudget": {"enabled": False},
            },
            "held at its first step for ever",
            "at least 1",
        ),
        (
            KNATIVE
            | {
                "analyst": KNATIVE["analyst"]
                | {"references": {"claimName": "a"}, "policy": {"on_silence": "probe"}}
            },
            "no address to be asked at",
            "on_silence=hold",
        ),
    ],
)
def test_refused_with_the_remedy(values: Any, said: str, remedy: str) -> None:
    message = refusal(values)
    assert said in message
    assert remedy in message
