"""`python -m tests.helm.lint`: helm's linter and a policy linter over every ci/*-values.yaml."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.helm.chart import CHART, CI_VALUES, Object, Rendered, run, tool
from tests.helm.pods import lifted

# What kube-score would have otherwise, and why it is not so.
IGNORED = {
    # A tag of ours is never put again, `latest` is refused, and a digest may be given.
    "container-image-pull-policy",
    # Spread over nodes and zones by topologySpreadConstraints.
    "deployment-has-host-podantiaffinity",
}
# A release decides these by its values; there they are checked where they are on.
OPTIONAL = {
    "pod-networkpolicy": "networkPolicy",
    "deployment-has-poddisruptionbudget": "podDisruptionBudget",
    "deployment-replicas": "podDisruptionBudget",
    "horizontalpodautoscaler-replicas": "podDisruptionBudget",
    "pod-topology-spread-constraints": "topologySpread",
}
WARNING = 5


def complaints(objects: Sequence[Object], ignored: Sequence[str] = ()) -> list[str]:
    """What the linter finds worse than all right, with the predictor's pod where it looks."""
    return scored(lifted(_lasting(objects)), (*sorted(IGNORED), *ignored))


def scored(objects: Sequence[Object], ignored: Sequence[str] = ()) -> list[str]:
    """What kube-score says of the objects as they are."""
    tests = [argument for name in ignored for argument in ("--ignore-test", name)]
    result = subprocess.run(
        [tool("kube-score"), "score", "--output-format", "json", *tests, "-"],
        input=yaml.safe_dump_all(objects),
        capture_output=True,
        text=True,
        check=False,
    )
    if not result.stdout.startswith(("[", "null")):
        raise SystemExit(f"kube-score has failed: {result.stderr or result.stdout}")
    return [
        f"{item['object_name']}: {check['check']['id']}: {comment['summary']}"
        for item in json.loads(result.stdout) or []
        for check in item["checks"]
        if not check["skipped"] and check["grade"] <= WARNING
        for comment in check["comments"] or [{"summary": ""}]
    ]


def _lasting(objects: Sequence[Object]) -> list[Object]:
    # The pod of `helm test` is there for seconds, and no policy lets anybody in or keeps it in.
    return [
        each for each in objects if "helm.sh/hook" not in each["metadata"].get("annotations", {})
    ]


def switched_off(values: Path) -> list[str]:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    given = yaml.safe_load(values.read_text())
    return [
        name
        for name, key in OPTIONAL.items()
        if not given.get(key, {}).get("enabled", defaults[key]["enabled"])
    ]


def main() -> int:
    failed = False
    for values in CI_VALUES:
        linted = run("lint", "--strict", str(CHART), "--values", str(values))
        found = complaints(Rendered(files=[values]).objects, switched_off(values))
        if linted.returncode != 0:
            found.insert(0, linted.stdout + linted.stderr)
        print(f"{os.path.relpath(values)}: {'all right' if not found else ''}")
        for each in found:
            print(f"  {each}", file=sys.stderr)
        failed = failed or bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
