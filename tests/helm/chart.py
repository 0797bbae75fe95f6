"""The chart as helm renders it."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/sightline"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "cxr", "models"
URI = "s3://models/cxr/7"

Object = dict[str, Any]


def tool(name: str) -> str:
    """A program that the chart is checked with: one that was named, or what `make tools` builds."""
    variable = "SIGHTLINE_" + name.upper().replace("-", "_")
    found = shutil.which(os.environ.get(variable) or str(ROOT / "build/tools" / name))
    assert found, f"{name} is missing: run `make tools`, or name an installed one in {variable}"
    return found


def run(
    *arguments: str, values: Mapping[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("helm"), *arguments, *(["--values", "-"] if values is not None else [])],
        input=None if values is None else json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        # Helm must find neither a cluster nor settings of whoever runs the tests.
        env={"PATH": os.environ["PATH"], "HOME": str(ROOT / "build"), "KUBECONFIG": os.devnull},
    )


def template(
    values: Mapping[str, Any] | None = None,
    files: Sequence[Path] = (),
    release: str = RELEASE,
    chart: Path = CHART,
) -> subprocess.CompletedProcess[str]:
    named = [argument for file in files for argument in ("--values", str(file))]
    place = ("--namespace", NAMESPACE)
    return run("template", release, str(chart), *place, *named, values=values or {})


class Rendered:
    """What a release consists of, what the analyst is given to make included.

    Args:
        values: given to helm; `model.uri` is set if it is not said.
    """

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        files: Sequence[Path] = (),
        release: str = RELEASE,
        chart: Path = CHART,
    ) -> None:
        given = dict(values or {})
        if not files:
            given["model"] = {"uri": URI} | given.get("model", {})
        result = template(given, files, release, chart)
        assert result.returncode == 0, result.stderr
        self.text = result.stdout
        self.objects: list[Object] = [each for each in yaml.safe_load_all(result.stdout) if each]
        self.objects += [
            yaml.safe_load(each["data"][key])
            for each in self.all("ConfigMap")
            for key in ("route.yaml", "inferenceservice.yaml")
            if key in each["data"]
        ]

    def kinds(self) -> list[str]:
        return sorted(each["kind"] for each in self.objects)

    def all(self, kind: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str) -> Object:
        found = self.all(kind)
        assert len(found) == 1, f"{len(found)} of {kind} among {self.kinds()}"
        return found[0]

    @property
    def service(self) -> Object:
        return self.one("InferenceService")

    @property
    def predictor(self) -> Object:
        spec: Object = self.service["spec"]["predictor"]
        return spec

    @property
    def container(self) -> Object:
        return container_of(self.service)

    @property
    def environment(self) -> dict[str, str]:
        return environment_of(self.container)


def container_of(service: Object) -> Object:
    containers = service["spec"]["predictor"]["containers"]
    assert len(containers) == 1
    container: Object = containers[0]
    return container


def environment_of(container: Object) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container["env"]}


def refusal(values: Mapping[str, Any], release: str = RELEASE) -> str:
    """Why helm does not render the values; `model.uri` is set if it is not said."""
    given = dict(values)
    given["model"] = {"uri": URI} | given.get("model", {})
    result = template(given, release=release)
    assert result.returncode != 0, result.stdout
    return result.stderr
