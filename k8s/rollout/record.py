"""What the analyst knows of a release, in the one ConfigMap that it writes."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationError

from k8s.rollout import names as at
from k8s.rollout.cluster import CONFIG_MAP, MANAGER, Cluster, Object
from k8s.rollout.names import Names
from k8s.rollout.policy import Strict
from k8s.rollout.state import Phase, State

KEY = "record.json"
_ENDED = (Phase.IDLE, Phase.ROLLED_BACK)


class RecordError(Exception):
    """The record is there and cannot be read; says what to do."""


class Release(Strict):
    """What an InferenceService serves, and what it is labelled with.

    Attributes:
        revision: short name of the spec.
    """

    revision: str
    spec: dict[str, Any]
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Record(Strict):
    """Where a release's rollout is: what has to be so is made so from this alone.

    Attributes:
        state: of the decisions.
        primary: what the primary has to serve; None before the first release is up.
        former: what it served before, while it changes; it goes back if it does not become ready.
        changed_at_s: since when it has been changing; None if it is not.
        rejected: revision that was rolled back, and is not tried again.
        weight_percent: share of the requests that the target has to get.
        least_replicas: pods that the primary had when the rollout began, or the target when it was
            promoted; fewer would be too few when the requests come back.
    """

    state: State = Field(default_factory=State)
    primary: Release | None = None
    former: Release | None = None
    changed_at_s: float | None = None
    rejected: str = ""
    weight_percent: int = 0
    least_replicas: int = 0

    @property
    def ended(self) -> bool:
        """No rollout is under way."""
        idle = self.primary is not None and self.changed_at_s is None
        return idle and self.state.phase in _ENDED

    @property
    def serving(self) -> str:
        """Revision that the primary has to serve, or empty."""
        return "" if self.primary is None else self.primary.revision

    @property
    def phase(self) -> str:
        """In a word, for people and metrics."""
        if self.primary is None:
            return "first"
        return Phase.PROMOTING.value if self.changed_at_s is not None else self.state.phase.value


@dataclass(frozen=True)
class Kept:
    """The record as it was read.

    Attributes:
        record: None if there is none yet.
        version: to be written with, so that nobody else's write is lost.
        request: what a person asks for, or empty.
    """

    record: Record | None
    version: str | None
    request: str


def read(cluster: Cluster, names: Names) -> Kept:
    """The record, from the API.

    Raises:
        RecordError: it is there, and is not one.
    """
    found = cluster.get(CONFIG_MAP, names.record)
    if found is None:
        return Kept(None, None, "")
    metadata = found["metadata"]
    text = (found.get("data") or {}).get(KEY)
    try:
        record = None if text is None else Record.model_validate_json(text)
    except ValidationError as error:
        raise RecordError(
            f"ConfigMap {cluster.namespace}/{names.record} has a {KEY} that cannot be read; delete "
            f"it to begin anew with what the primary serves: {error}"
        ) from error
    request = (metadata.get("annotations") or {}).get(at.REQUEST, "")
    return Kept(record, metadata["resourceVersion"], request)


def write(
    cluster: Cluster, names: Names, record: Record, version: str | None, owner: Object
) -> None:
    """Keep a record, and with it the request as met.

    Raises:
        ConflictError: somebody has written since it was read: another analyst, or a request.
    """
    annotations = {at.REQUEST: "", at.WEIGHT: str(record.weight_percent)}
    last = record.state.last
    if last is not None:
        annotations[at.VERDICT] = last.verdict.value
        annotations[at.REASON] = last.reason
        annotations[at.FIGURES] = json.dumps(last.figures.model_dump(mode="json"))
    metadata: Object = {
        "annotations": annotations,
        "labels": {
            "app.kubernetes.io/name": "sightline",
            "app.kubernetes.io/instance": names.target,
            "app.kubernetes.io/component": "analyst",
            at.MANAGED_BY: MANAGER,
        },
        "ownerReferences": [owner],
    }
    if version is not None:
        metadata["resourceVersion"] = version
    data = {KEY: record.model_dump_json()}
    cluster.apply(CONFIG_MAP, names.record, {"metadata": metadata, "data": data})
