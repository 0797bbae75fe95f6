"""The analyst in Knative mode, with KServe's real controller and a stand-in for Knative's.

KServe says which revision gets what share, and which has been rolled out; the stand-in only makes
a revision of each template and says that it is ready.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k8s.rollout.record import Record
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Object
from tests.cluster.test_analyst import PATIENCE_S, Release, merged
from tests.cluster.test_chart import KNATIVE, PREDICTOR, environment

VALUES: Any = {
    "deploymentMode": "Knative",
    "autoscaling": {"type": "knative"},
    "route": {"type": "kserve", "parentRefs": []},
    "podDisruptionBudget": {"enabled": False},
}
SINCE = "2026-01-01T00:00:00Z"


class KnativeRelease(Release):
    """A release whose Knative Service has the revisions that its templates are."""

    def __init__(self, plane: ControlPlane, namespace: str, folder: Path) -> None:
        super().__init__(plane, namespace, folder)
        self.templates: list[str] = []
        self.models: list[str] = []
        self.broken: set[str] = set()
        self.ready = ""
        # Every division of requests that there was, by model.
        self.divisions: list[dict[str, int]] = []

    def install(self, model: str, command: str = "upgrade") -> None:
        uri = f"s3://models/{model}"
        self.helm(command, **merged(VALUES, {"model": {"uri": uri}}))

    def until_done(self) -> Record:
        controller = self.analyst()
        end = time.monotonic() + PATIENCE_S
        quiet = 0
        while True:
            record = controller.look()
            time.sleep(0.3)
            self.knative()
            quiet = quiet + 1 if controller.done else 0
            if quiet == 4:
                return record
            assert time.monotonic() < end, (record.phase, record.state.last, self.divisions[-1:])

    def knative(self) -> None:
        """What Knative's controllers would say."""
        service = self.kubectl.find(KNATIVE, PREDICTOR, self.namespace)
        if service is None:
            return
        template = json.dumps(service["spec"]["template"], sort_keys=True)
        if not self.templates or self.templates[-1] != template:
            self.templates.append(template)
            self.models.append(environment(service)["STORAGE_URI"].rsplit("/", 1)[1])
        elif self.models[-1] not in self.broken:
            self.ready = revision(len(self.models))
        created = revision(len(self.models))
        wanted = service["spec"].get("traffic", [])
        traffic = [
            {
                **each,
                "revisionName": self.ready if each.get("latestRevision") else each["revisionName"],
            }
            for each in wanted
        ]
        up = "True" if self.ready == created else "Unknown"
        status = {
            "observedGeneration": service["metadata"]["generation"],
            "conditions": [
                {"type": kind, "status": up, "lastTransitionTime": SINCE}
                for kind in ("Ready", "ConfigurationsReady", "RoutesReady")
            ],
            "latestCreatedRevisionName": created,
            "latestReadyRevisionName": self.ready,
            "traffic": traffic if self.ready else [],
            "url": "http://cxr-predictor.example.com",
            "address": {"url": "http://cxr-predictor.models.svc.cluster.local"},
        }
        self.kubectl.patch_status(KNATIVE, PREDICTOR, self.namespace, status)
        if self.ready:
            self.divisions.append(self.divided(traffic))

    def divided(self, traffic: list[Object]) -> dict[str, int]:
        found: dict[str, int] = {}
        for each in traffic:
            model = self.models[int(each["revisionName"].rsplit("-", 1)[1]) - 1]
            found[model] = found.get(model, 0) + each["percent"]
        return {model: share for model, share in found.items() if share}


def revision(number: int) -> str:
    return f"{PREDICTOR}-{number:05d}"


@pytest.fixture(scope="module")
def release(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KnativeRelease]:
    with plane.admin.namespace("analyst-knative", "baseline") as namespace:
        release = KnativeRelease(plane, namespace, tmp_path_factory.mktemp("knative"))
        release.install("a", "install")
        release.until_done()
        release.install("b")
        release.until_done()
        yield release


def test_one_release_after_another_is_promoted_by_its_share(release: KnativeRelease) -> None:
    assert release.divisions[0] == {"a": 100}
    assert release.divisions[-1] == {"b": 100}
    # Nothing but the steps of the policy, and never all at once.
    assert {"a": 50, "b": 50} in release.divisions
    first = next(each for each in release.divisions if "b" in each)
    assert first == {"a": 50, "b": 50}


def test_a_failing_one_goes_back_to_what_was_promoted_and_not_to_the_one_before(
    release: KnativeRelease,
) -> None:
    release.divisions.clear()
    release.traffic.failing = True
    try:
        release.install("bad")
        record = release.until_done()
    finally:
        release.traffic.failing = False
    assert record.rejected
    assert release.divisions[-1] == {"b": 100}
    assert not any("a" in each for each in release.divisions)
    assert max(each.get("bad", 0) for each in release.divisions) == 50


def test_unchanged_values_make_no_revision(release: KnativeRelease) -> None:
    revisions = len(release.models)
    release.install("bad")
    release.until_done()
    assert len(release.models) == revisions


def test_what_never_becomes_ready_gets_nothing(release: KnativeRelease) -> None:
    release.divisions.clear()
    release.broken.add("c")
    release.install("c")
    record = release.until_done()
    assert record.rejected
    assert {model for each in release.divisions for model in each} == {"b"}
