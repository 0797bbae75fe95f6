"""Kubernetes' own schemas take the manifests; a field that they do not know would be dropped."""

from pathlib import Path
from typing import Any

import pytest
from kubernetes_validate import ValidationError, latest_version, validate

from .rendered import APPLIED, OVERLAYS, name_of, render

# The oldest one with a success policy, the one that the cluster tests run, and the newest.
VERSIONS = ("1.31", "1.34", latest_version())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("directory", APPLIED, ids=name_of)
def test_kubernetes_knows_every_field(directory: Path, version: str) -> None:
    for manifest in render(directory):
        validate(manifest, version, strict=True)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"backoffLimits": 3}, "backoffLimits"),
        ({"parallelism": "two"}, "two"),
        ({"podFailurePolicy": {"rules": [{"onExitCodes": {"values": [2]}}]}}, "operator"),
    ],
)
def test_a_wrong_field_is_noticed(change: dict[str, Any], named: str) -> None:
    (job,) = (each for each in render(OVERLAYS / "cpu") if each["kind"] == "Job")
    job["spec"] |= change
    with pytest.raises(ValidationError, match=named):
        validate(job, VERSIONS[0], strict=True)
