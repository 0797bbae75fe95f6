"""InferenceServices: what they are, whether they are up, and a primary made of a target."""

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from k8s.rollout.cluster import MANAGER, Object
from k8s.rollout.names import MANAGED_BY, REVISION, STOP, workload
from k8s.rollout.record import Release

_HELM = ("meta.helm.sh/", "kubectl.kubernetes.io/")


def revision_of(spec: Mapping[str, Any]) -> str:
    """Short name of a spec: what is served and how, and nothing of its metadata.

    The share of the requests is not part of it: in Knative mode it is the analyst's to change.
    """
    plain = copy.deepcopy(dict(spec))
    plain.get("predictor", {}).pop("canaryTrafficPercent", None)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stopped(service: Object) -> bool:
    """KServe keeps it without pods."""
    annotations = service["metadata"].get("annotations") or {}
    return str(annotations.get(STOP, "")).lower() == "true"


def condition(service: Object, kind: str) -> bool:
    """Whether a condition of its status is true."""
    conditions = service.get("status", {}).get("conditions") or []
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def serves(service: Object | None, deployment: Object | None) -> bool:
    """Whether pods of this very spec, and no others, take requests (Standard mode).

    KServe's Ready stays true while a Deployment goes from one spec to the next, and may be older
    than the spec. So the Deployment has to show the revision that the spec names, if it names
    one, and to have replaced every pod.
    """
    if service is None or deployment is None or stopped(service):
        return False
    if not condition(service, "Ready"):
        return False
    status = deployment.get("status", {})
    replicas = deployment["spec"].get("replicas", 1)
    return bool(
        answers(service, deployment)
        and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and min(status["updatedReplicas"], status["availableReplicas"]) >= replicas
    )


def answers(service: Object | None, deployment: Object | None) -> bool:
    """Whether a pod of this very spec takes requests, and none of another (Standard mode).

    An autoscaler that adds pods makes a Deployment unavailable, and with it the InferenceService
    unready, until the last of them is ready, though all that were there before still answer.
    """
    if service is None or deployment is None or stopped(service):
        return False
    wanted = marked(service["spec"])
    template = deployment["spec"]["template"]["metadata"].get("annotations") or {}
    if wanted is not None and template.get(REVISION) != wanted:
        return False
    status = deployment.get("status", {})
    others = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    return bool(others <= 0 and status.get("availableReplicas", 0) >= 1)


def marked(spec: Mapping[str, Any]) -> str | None:
    """The revision that the spec puts onto its pods."""
    found = (spec["predictor"].get("annotations") or {}).get(REVISION)
    return None if found is None else str(found)


def release_of(service: Object) -> Release:
    """What an InferenceService serves."""
    metadata = service["metadata"]
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key != STOP and not key.startswith(_HELM)
    }
    labels = {
        key: value for key, value in (metadata.get("labels") or {}).items() if key != MANAGED_BY
    }
    spec = service["spec"]
    return Release(revision=revision_of(spec), spec=spec, labels=labels, annotations=annotations)


def primary_of(release: Release, target: str, primary: str) -> Object:
    """The primary that serves what the target served, for an apply: metadata and spec."""
    spec = copy.deepcopy(release.spec)
    predictor = spec["predictor"]
    for part in ("topologySpreadConstraints", "affinity"):
        if part in predictor:
            old, new = f"isvc.{workload(target)}", f"isvc.{workload(primary)}"
            predictor[part] = _renamed(predictor[part], old, new)
    predictor["annotations"] = {
        **(predictor.get("annotations") or {}),
        REVISION: release.revision,
    }
    labels = {**release.labels, MANAGED_BY: MANAGER}
    return {"metadata": {"labels": labels, "annotations": release.annotations}, "spec": spec}


def restored(primary: Object) -> Release:
    """What a primary was made of, as far as it shows."""
    found = release_of(primary)
    return found.model_copy(update={"revision": marked(primary["spec"]) or found.revision})


def covers(live: Any, wanted: Any) -> bool:
    """Whether what is there says all that is wanted; what the API filled in is no difference."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            key in live and covers(live[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(live, list)
            and len(live) == len(wanted)
            and all(covers(a, b) for a, b in zip(live, wanted, strict=True))
        )
    return bool(live == wanted)


def _renamed(node: Any, old: str, new: str) -> Any:
    if isinstance(node, dict):
        return {key: _renamed(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(each, old, new) for each in node]
    return new if node == old else node
