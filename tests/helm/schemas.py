"""Objects held against what an API server would hold them against, without one."""

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from kubernetes import client
from pydantic import ValidationError

from tests.helm.chart import ROOT, Object

CRDS = ROOT / "build/tools/crds"
# Their schema is that of the types of Kubernetes' own client.
MODELS = {
    "v1/ConfigMap": "V1ConfigMap",
    "v1/Pod": "V1Pod",
    "v1/Service": "V1Service",
    "v1/ServiceAccount": "V1ServiceAccount",
    "apps/v1/Deployment": "V1Deployment",
    "autoscaling/v2/HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler",
    "batch/v1/CronJob": "V1CronJob",
    "batch/v1/Job": "V1Job",
    "networking.k8s.io/v1/NetworkPolicy": "V1NetworkPolicy",
    "policy/v1/PodDisruptionBudget": "V1PodDisruptionBudget",
}


def faults(item: Object) -> list[str]:
    """What is wrong with an object; nothing if an API server would accept its form."""
    kind = f"{item['apiVersion']}/{item['kind']}"
    if kind in MODELS:
        return [*_unknown(item, MODELS[kind], item["kind"]), *_wrong(item, MODELS[kind])]
    validator = _validators()[kind]
    return [
        f"{item['kind']}.{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in validator.iter_errors(item)
    ]


def _wrong(item: Object, model: str) -> list[str]:
    """Keys that are missing, and values of another type."""
    try:
        getattr(client, model).model_validate(_with_strings(item))
    except ValidationError as error:
        return [
            f"{item['kind']}.{'.'.join(map(str, each['loc']))}: {each['msg']}"
            for each in error.errors(include_url=False)
        ]
    return []


def _with_strings(node: Any, path: str = "") -> Any:
    """Quantities are strings to the client, and may be numbers to the server."""
    if isinstance(node, dict):
        return {key: _with_strings(each, f"{path}.{key}") for key, each in node.items()}
    if isinstance(node, list):
        return [_with_strings(each, path) for each in node]
    if re.search(r"\.resources\.(requests|limits)\.", path) and isinstance(node, int):
        return str(node)
    return node


def _unknown(value: Any, model: str, path: str) -> Iterator[str]:
    """Keys that the type does not have, which a server drops or refuses."""
    inner = re.fullmatch(r"(?:List\[|Dict\[str, )(.+)\]", model)
    if inner is not None:
        pairs = value.items() if isinstance(value, dict) else enumerate(value or [])
        for key, each in pairs:
            yield from _unknown(each, inner[1], f"{path}.{key}")
    elif isinstance(value, dict) and hasattr(client, model):
        kind = getattr(client, model)
        types = {kind.attribute_map[name]: each for name, each in kind.openapi_types.items()}
        for key, each in value.items():
            if key not in types:
                yield f"{path}.{key}: {model} has no such field"
            else:
                yield from _unknown(each, types[key], f"{path}.{key}")


@cache
def _validators() -> dict[str, jsonschema.Draft7Validator]:
    found = {}
    assert CRDS.is_dir(), f"{CRDS} is missing: run `make tools`"
    for file in sorted(CRDS.glob("*.yaml")):
        for definition in _read(file):
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = _closed(version["schema"]["openAPIV3Schema"])
                # The server knows these without being told.
                for name in ("apiVersion", "kind", "metadata"):
                    schema["properties"][name] = {}
                kind = f"{spec['group']}/{version['name']}/{spec['names']['kind']}"
                found[kind] = jsonschema.Draft7Validator(schema)
    return found


def _read(file: Path) -> list[Object]:
    kept = file.with_suffix(".json")
    if not kept.is_file() or kept.stat().st_mtime < file.stat().st_mtime:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        text = json.dumps(list(yaml.load_all(file.read_text(), loader)))
        part = kept.with_suffix(f".{os.getpid()}.part")
        part.write_text(text)
        part.replace(kept)
    read: list[Object] = json.loads(kept.read_text())
    return read


def _closed(node: Any) -> Any:
    """The schema as JSON Schema, with unknown keys refused where a server would drop them."""
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    closed = {
        key: (
            {name: _closed(each) for name, each in value.items()}
            if key == "properties"
            else _closed(value)
        )
        for key, value in node.items()
        if key not in ("description", "default", "format") and not key.startswith("x-kubernetes-")
    }
    if node.get("x-kubernetes-int-or-string"):
        closed.pop("anyOf", None)
        closed["type"] = ["integer", "string"]
    if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed
