"""Objects held against what an API server would hold them against, without one."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from kubernetes_validate import validate

from tests.helm.chart import ROOT, Object

CRDS = ROOT / "build/tools/crds"
# The one of the cluster that the chart is tested for.
KUBERNETES = "1.34"


def faults(item: Object) -> list[str]:
    """What is wrong with an object; nothing if an API server would accept its form."""
    validator = _validators().get(f"{item['apiVersion']}/{item['kind']}")
    if validator is None:
        try:
            validate(item, KUBERNETES, strict=True)
        except jsonschema.ValidationError as error:
            return [_said(item, error)]
        return []
    return [_said(item, error) for error in validator.iter_errors(item)]


def _said(item: Object, error: jsonschema.ValidationError) -> str:
    return f"{item['kind']}.{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"


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
