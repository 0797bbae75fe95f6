"""Knative mode: one InferenceService, whose next revision gets a share of the requests.

KServe divides by `canaryTrafficPercent`: the latest revision gets it, and the one that had all
requests last gets the rest. Without the field a new spec gets everything as soon as it is ready,
and with 0 while nothing is new KServe goes back to the revision before. So the field has to change
in the same write as the spec, and only who writes both can begin at 0 %: the analyst makes the
InferenceService here, from the chart's description of it.
"""

import copy
from typing import Any

from k8s.rollout.cluster import INFERENCE_SERVICE, Cluster, Object
from k8s.rollout.course import World
from k8s.rollout.names import FOLLOWS, REVISION, Names
from k8s.rollout.record import Record, Release
from k8s.rollout.service import condition, covers, marked, release_of
from k8s.rollout.settings import Configuration


class Knative:
    """The cluster as it is, and as a record wants it.

    Args:
        cluster: the API.
        names: of the release.
        configuration: of the analyst.
    """

    def __init__(self, cluster: Cluster, names: Names, configuration: Configuration) -> None:
        self._cluster = cluster
        self._names = names
        self._configuration = configuration
        self._wanted = release_of(configuration.service)
        self._live: Object | None = None

    @property
    def subject(self) -> Object:
        """What Events are about."""
        return self._live or self._configuration.source

    def look(self) -> World:
        """Read everything that counts."""
        self._live = self._cluster.get(INFERENCE_SERVICE, self._names.target)
        told, status = self._told, self._status
        rolled_out = status.get("latestRolledoutRevision", "")
        alone = self._up and rolled_out == status["latestReadyRevision"]
        ready = self._up and told == self._wanted.revision
        return World(
            target=self._wanted,
            target_ready=ready,
            target_answers=ready,
            primary=told,
            primary_ready=alone,
            primary_answers=alone,
            found=self._found(told) if alone else None,
            primary_replicas=0,
            target_replicas=0,
            weight_percent=self._weight_percent,
            moved_at_s=0.0,
        )

    def act(self, record: Record, at_s: float) -> bool:
        """Make the cluster what the record wants; what is so already is left alone.

        Returns:
            whether no rollout is under way, and what was promoted has all requests.
        """
        if record.primary is None:
            self._write(self._wanted, None)
        elif record.changed_at_s is not None:
            self._write(record.primary, 100)
        elif not record.ended:
            new = self._told != self._wanted.revision
            self._write(self._wanted, 0 if new else record.weight_percent)
        elif self._told != record.primary.revision:
            # Back to what was promoted, as another revision that has to be ready first.
            self._write(record.primary, 0)
        elif self._up or self._percent != 0:
            self._write(record.primary, 100)
            return True
        return False

    def matching(self) -> tuple[str, str]:
        """Label matchers of the primary's and the target's series."""
        label, status = "serving_knative_dev_revision", self._status
        primary = status.get("latestRolledoutRevision", "")
        return f'{label}="{primary}"', f'{label}="{status.get("latestCreatedRevision", "")}"'

    def addresses(self) -> tuple[str, str]:
        """Where primary and target are asked directly.

        Raises:
            NotImplementedError: a revision without requests has no address; the chart refuses
                settings that would ask for it.
        """
        raise NotImplementedError("in Knative mode no reference requests can be sent")

    @property
    def _status(self) -> dict[str, Any]:
        components = (self._live or {}).get("status", {}).get("components") or {}
        found: dict[str, Any] = components.get("predictor") or {}
        return found

    @property
    def _told(self) -> str | None:
        return None if self._live is None else marked(self._live["spec"])

    @property
    def _percent(self) -> int | None:
        if self._live is None:
            return None
        found = self._live["spec"]["predictor"].get("canaryTrafficPercent")
        return None if found is None else int(found)

    @property
    def _follows(self) -> str:
        annotations = (self._live or {}).get("spec", {}).get("predictor", {}).get("annotations")
        return str((annotations or {}).get(FOLLOWS, ""))

    @property
    def _up(self) -> bool:
        """The revision of the spec that is written, and not the one before it, is ready."""
        created = self._status.get("latestCreatedRevision", "")
        return bool(
            self._live is not None
            and created
            and created == self._status.get("latestReadyRevision")
            and created != self._follows
            and condition(self._live, "Ready")
        )

    @property
    def _weight_percent(self) -> int | None:
        traffic: list[dict[str, Any]] | None = self._status.get("traffic")
        if traffic is None:
            return None
        return sum(int(each.get("percent", 0)) for each in traffic if each.get("latestRevision"))

    def _found(self, told: str | None) -> Release | None:
        """What serves, for a record that was lost."""
        if self._live is None or told is None:
            return None
        return release_of(self._live).model_copy(update={"revision": told})

    def _write(self, release: Release, percent: int | None) -> None:
        spec = copy.deepcopy(release.spec)
        predictor = spec["predictor"]
        same = self._told == release.revision
        created = self._status.get("latestCreatedRevision", "")
        predictor["annotations"] = {
            **(predictor.get("annotations") or {}),
            REVISION: release.revision,
            FOLLOWS: self._follows if same else created,
        }
        predictor.pop("canaryTrafficPercent", None)
        if percent is not None:
            predictor["canaryTrafficPercent"] = percent
        if self._live is not None and covers(self._live["spec"], spec):
            return
        metadata = {
            "labels": release.labels,
            "annotations": release.annotations,
            "ownerReferences": [self._configuration.owner],
        }
        content = {"metadata": metadata, "spec": spec}
        self._live = self._cluster.apply(INFERENCE_SERVICE, self._names.target, content)
