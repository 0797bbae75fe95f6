"""Take one required piece away at a time, and see which test notices.

usage: python -m tests.cluster.mutations [--only WORD]

Works on a copy. Exits with 1 if a piece can be missing without a test that fails.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

from tests.helm.chart import ROOT, tool

TEMPLATES = "helm/sightline/templates"
RENDERING = ("tests/helm", "--numprocesses=2")
CLUSTER = ("tests/cluster/test_chart.py", "-k", "fixed or production or canary")
WRONG = ("tests/cluster/test_refusals.py",)


@dataclass(frozen=True)
class Mutation:
    """A piece of text replaced in one file, and the tests that should notice."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...] = RENDERING

    @property
    def name(self) -> str:
        return f"{self.file.removeprefix(TEMPLATES + '/')}: {' '.join(self.old.split())[:70]}"


def _chart(file: str, old: str, new: str = "", tests: tuple[str, ...] = RENDERING) -> Mutation:
    return Mutation(f"{TEMPLATES}/{file}", old, new, tests)


MUTATIONS = (
    _chart("_predictor.tpl", "automountServiceAccountToken: false\n"),
    _chart("_predictor.tpl", "path: /v2/health/ready", "path: /v2/health/live"),
    _chart("_predictor.tpl", "fsGroup: 10001", "fsGroup: 0"),
    _chart("_names.tpl", "readOnlyRootFilesystem: true\n"),
    _chart("_names.tpl", "capabilities: {drop: [ALL]}", "capabilities: {}"),
    _chart("_names.tpl", "allowPrivilegeEscalation: false\n"),
    _chart("_inferenceservices.tpl", "networking.kserve.io/visibility: cluster-local", "x: y"),
    _chart("autoscaler.yaml", "metricType: AverageValue", "metricType: Value"),
    _chart("networkpolicy.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]"),
    _chart("networkpolicy.yaml", "        - {protocol: UDP, port: 53}\n"),
    _chart("poddisruptionbudget.yaml", "  unhealthyPodEvictionPolicy: AlwaysAllow\n"),
    _chart("podmonitor.yaml", 'ternary "http" "user-port"', 'ternary "metrics" "user-port"'),
    _chart("_training.tpl", "restartPolicy: Never", "restartPolicy: OnFailure"),
    _chart("serviceaccount.yaml", "automountServiceAccountToken: false\n"),
    _chart("tests/smoke.yaml", "helm.sh/hook: test", "example.com/hook: test"),
    Mutation("helm/sightline/values.schema.json", '"additionalProperties": false,', ""),
    # What only a cluster notices, or notices as well.
    _chart("_names.tpl", "capabilities: {drop: [ALL]}", "capabilities: {}", CLUSTER),
    _chart("autoscaler.yaml", "name: {{ $name }}-predictor}", "name: {{ $name }}}", CLUSTER),
    _chart(
        "_inferenceservices.tpl", "networking.kserve.io/visibility: cluster-local", "x: y", CLUSTER
    ),
    Mutation(
        "tests/cluster/kserve.py", "plane.admin.apply(*_webhooks(plane, webhook))", "pass", WRONG
    ),
    Mutation("tests/cluster/kserve.py", '"autoscaler.yaml"', '"configuration.yaml"', CLUSTER),
)


@contextmanager
def _copy() -> Iterator[Path]:
    """All that git tracks, with the tools as they are built."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(ROOT / name, target)
        (copy / "build").mkdir()
        (copy / "build/tools").symlink_to(ROOT / "build/tools")
        yield copy


def _failed(copy: Path, tests: tuple[str, ...]) -> list[str]:
    """Names of the tests that fail, or that there was no coming so far."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--quiet",
        "--no-header",
        "--tb=no",
        "--maxfail=3",
        *tests,
    ]
    environment = os.environ | {
        "SIGHTLINE_HELM": tool("helm"),
        "SIGHTLINE_KUBE_SCORE": tool("kube-score"),
        "PYTHONPATH": str(copy),
    }
    done = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    found = re.findall(r"^(?:FAILED|ERROR) \S*?::(\w+)", done.stdout, re.MULTILINE)
    return sorted(set(found)) or ([] if done.returncode == 0 else [f"exit {done.returncode}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="mutations whose name has this in it")
    options = parser.parse_args()
    unnoticed = 0
    with _copy() as copy:
        chosen = [each for each in MUTATIONS if options.only in each.name]
        for tests in {each.tests for each in chosen}:
            failed = _failed(copy, tests)
            if failed:
                raise SystemExit(f"{tests[0]} fails as it is: {', '.join(failed)}")
        for mutation in chosen:
            file = copy / mutation.file
            before = file.read_text()
            if mutation.old not in before:
                raise SystemExit(f"{mutation.file} has no {mutation.old!r} any more")
            file.write_text(before.replace(mutation.old, mutation.new))
            failed = _failed(copy, mutation.tests)
            file.write_text(before)
            unnoticed += not failed
            noticed = f"{len(failed)} noticed: {', '.join(failed[:3])}" if failed else "UNNOTICED"
            print(f"{mutation.name} [{mutation.tests[0]}]: {noticed}", flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
