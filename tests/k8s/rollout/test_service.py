"""What counts as up, and what a primary is made of."""

from typing import Any

import pytest

from k8s.rollout.service import answers, covers, primary_of, release_of, revision_of, serves

SPEC: Any = {
    "predictor": {
        "annotations": {"sightline/revision": "new"},
        "containers": [{"name": "kserve-container", "image": "i"}],
        "topologySpreadConstraints": [
            {"labelSelector": {"matchLabels": {"app": "isvc.cxr-predictor"}}}
        ],
    }
}
SERVICE: Any = {
    "metadata": {
        "name": "cxr",
        "labels": {"team": "imaging", "app.kubernetes.io/managed-by": "Helm"},
        "annotations": {
            "serving.kserve.io/deploymentMode": "Standard",
            "serving.kserve.io/stop": "false",
            "meta.helm.sh/release-name": "cxr",
        },
    },
    "spec": SPEC,
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


def deployment(revision: str = "new", replicas: int = 2, **status: int) -> Any:
    there = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "observedGeneration": 3}
    return {
        "metadata": {"generation": 3},
        "spec": {
            "replicas": replicas,
            "template": {"metadata": {"annotations": {"sightline/revision": revision}}},
        },
        "status": there | status,
    }


@pytest.mark.parametrize(
    ("found", "up", "some"),
    [
        (deployment(), True, True),
        # KServe has not written the spec into it yet.
        (deployment("old"), False, False),
        # Nobody has looked at what KServe wrote.
        (deployment(observedGeneration=2), False, True),
        # The last pod of the spec before is still there.
        (deployment(replicas=2, updatedReplicas=1), False, False),
        (deployment(availableReplicas=1), False, True),
        (deployment(replicas=4), False, True),
        (deployment(availableReplicas=0), False, False),
        (None, False, False),
    ],
)
def test_up_is_every_pod_and_of_this_spec(found: Any, up: bool, some: bool) -> None:
    assert serves(SERVICE, found) == up
    assert answers(SERVICE, found) == some


def test_what_is_stopped_or_not_ready_is_not_up() -> None:
    annotations = SERVICE["metadata"] | {"annotations": {"serving.kserve.io/stop": "True"}}
    assert not answers(SERVICE | {"metadata": annotations}, deployment())
    assert not serves(SERVICE | {"status": {}}, deployment())


def test_a_primary_has_the_spec_under_a_name_of_its_own() -> None:
    release = release_of(SERVICE)
    primary = primary_of(release, "cxr", "cxr-primary")
    (spread,) = primary["spec"]["predictor"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == {"app": "isvc.cxr-primary-predictor"}
    assert primary["spec"]["predictor"]["annotations"]["sightline/revision"] == release.revision
    assert primary["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": "Standard"}
    assert primary["metadata"]["labels"] == {
        "team": "imaging",
        "app.kubernetes.io/managed-by": "sightline-rollout",
    }
    assert release.spec == SPEC


def test_a_revision_is_of_the_spec_and_not_of_the_share_or_the_order() -> None:
    predictor = SPEC["predictor"]
    shared = {"predictor": {"canaryTrafficPercent": 5} | dict(reversed(predictor.items()))}
    assert revision_of(shared) == revision_of(SPEC)
    assert revision_of({"predictor": predictor | {"timeout": 3}}) != revision_of(SPEC)


@pytest.mark.parametrize(
    ("live", "wanted", "covered"),
    [
        ({"a": 1, "filled": 2}, {"a": 1}, True),
        ({"a": [{"b": 1, "filled": 2}]}, {"a": [{"b": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({}, {"a": None}, False),
        ({"a": 2}, {"a": 1}, False),
    ],
)
def test_what_the_api_fills_in_is_no_difference(live: Any, wanted: Any, covered: bool) -> None:
    assert covers(live, wanted) == covered
