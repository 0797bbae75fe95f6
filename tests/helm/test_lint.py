"""The policy linter sees the predictor's pod: what is broken in it is found."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.helm.chart import CI_VALUES, Object, Rendered
from tests.helm.lint import complaints, scored, switched_off
from tests.helm.pods import OF_THE_COMPONENT, lifted
from tests.helm.schemas import faults

PRODUCTION = [path for path in CI_VALUES if path.name == "production-values.yaml"]


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return Rendered(files=PRODUCTION).objects


def test_a_release_with_everything_leaves_nothing_to_complain_of(objects: list[Object]) -> None:
    assert complaints(objects) == []


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_what_is_switched_on_is_in_order_everywhere(values: Path) -> None:
    assert complaints(Rendered(files=[values]).objects, switched_off(values)) == []


def without(container: Object, *path: str) -> None:
    node: Any = container
    for part in path[:-1]:
        node = node[part]
    del node[path[-1]]


@pytest.mark.parametrize(
    ("path", "check"),
    [
        (("securityContext", "readOnlyRootFilesystem"), "readonlyrootfilesystem"),
        (("securityContext",), "container-security-context-readonlyrootfilesystem"),
        (("resources", "limits"), "container-resources"),
        (("resources", "requests", "ephemeral-storage"), "ephemeral-storage"),
        (("readinessProbe",), "pod-probes"),
        (("image",), "container-image-tag"),
    ],
)
def test_a_pod_that_lacks_something_is_noticed(
    objects: list[Object], path: tuple[str, ...], check: str
) -> None:
    broken = copy.deepcopy(objects)
    service = next(each for each in broken if each["kind"] == "InferenceService")
    without(service["spec"]["predictor"]["containers"][0], *path)
    assert any(check in each for each in complaints(broken)), complaints(broken)


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("NetworkPolicy", "pod-networkpolicy"),
        ("PodDisruptionBudget", "deployment-has-poddisruptionbudget"),
    ],
)
def test_a_release_that_lacks_a_policy_is_noticed(
    objects: list[Object], kind: str, check: str
) -> None:
    rest = [each for each in objects if each["kind"] != kind]
    assert any(check in each for each in complaints(rest))


def test_without_lifting_the_linter_would_see_nothing(objects: list[Object]) -> None:
    broken = copy.deepcopy(objects)
    service = next(each for each in broken if each["kind"] == "InferenceService")
    without(service["spec"]["predictor"]["containers"][0], "resources")
    found = scored([each for each in broken if each["kind"] == "InferenceService"])
    assert found == []
    assert scored(lifted([service])) != []


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_all_of_the_predictor_is_either_kserve_s_or_the_pod_s(values: Path) -> None:
    """A key that the lift forgets would be a key that no linter sees."""
    for each in lifted(Rendered(files=[values]).objects):
        if each["kind"] == "Deployment":
            assert faults(each) == []
            assert not OF_THE_COMPONENT & set(each["spec"]["template"]["spec"])
