"""The HTTPRoute: one template, and the shares of two Services in it."""

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from k8s.rollout.cluster import MANAGER, Object
from k8s.rollout.names import MANAGED_BY, MOVED_AT, TEMPLATE, workload
from k8s.rollout.service import covers


def divided(template: Mapping[str, Any], target: str, primary: str, weight_percent: int) -> Object:
    """The route with the target's share.

    A side without a share is left out: its Service may be gone, and some gateways answer with an
    error of their own when a backend is missing, whatever its weight.

    Args:
        template: HTTPRoute that sends everything to the target's Service.
        target: InferenceService whose share it is.
        primary: InferenceService that has the rest.
        weight_percent: the share.

    Returns:
        `metadata` (labels and annotations) and `spec`, for an apply.
    """
    spec = copy.deepcopy(dict(template["spec"]))
    shares = ((primary, 100 - weight_percent), (target, weight_percent))
    for rule in spec["rules"]:
        rule["backendRefs"] = [
            {**ref, "name": workload(name), "weight": weight}
            for ref in rule["backendRefs"]
            for name, weight in shares
            if weight
        ]
    metadata = {key: dict(template["metadata"].get(key) or {}) for key in ("labels", "annotations")}
    metadata["labels"][MANAGED_BY] = MANAGER
    # What the template has no longer would not be missed otherwise: the API fills in much itself.
    text = json.dumps(template, sort_keys=True)
    metadata["annotations"][TEMPLATE] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"metadata": metadata, "spec": spec}


def weight_of(route: Object | None, target: str) -> int | None:
    """The target's share in per cent, or None if there is no route or its rules disagree."""
    if route is None:
        return None
    found = set()
    for rule in route["spec"].get("rules") or []:
        weights = {ref["name"]: ref.get("weight", 1) for ref in rule.get("backendRefs") or []}
        total = sum(weights.values())
        if not total:
            return None
        found.add(round(100 * weights.get(workload(target), 0) / total))
    return found.pop() if len(found) == 1 else None


def same(live: Object | None, wanted: Mapping[str, Any]) -> bool:
    """Whether the live route says what is wanted; what the API fills in is no difference."""
    if live is None or not covers(live["spec"], wanted["spec"]):
        return False
    metadata = live["metadata"]
    return all(
        covers(metadata.get(key) or {}, wanted["metadata"][key])
        for key in ("labels", "annotations")
    )


def moved_at_s(route: Object | None) -> float:
    """When the shares were last changed, in seconds since 1970; 0 if it does not say."""
    annotations = {} if route is None else route["metadata"].get("annotations") or {}
    return float(annotations.get(MOVED_AT, 0))
