"""Values, their schema, their reference, and the predictor's settings say the same."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import jsonschema
import pytest
import yaml

from predictor.settings import ENVIRONMENT_PREFIX, Settings
from tests.helm.chart import CHART, CI_VALUES, ROOT, Rendered, refusal, run

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
# Of what the predictor can be told, these follow from other values.
MADE_BY_THE_CHART = {
    "bundle",
    "model_name",
    "model_version",
    "device",
    "cache_dir",
    "token_file",
    "request_log",
}


def properties(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, list):
        for each in node:
            yield from properties(each, path)
    elif isinstance(node, dict):
        for name, inner in node.get("properties", {}).items():
            yield f"{path}.{name}", inner
            yield from properties(inner, f"{path}.{name}")
        for key in ("items", "oneOf", "anyOf"):
            yield from properties(node.get(key), path)


def test_every_key_of_the_schema_is_described() -> None:
    found = list(properties(SCHEMA))
    assert len(found) > 150
    for path, node in found:
        assert node.get("description"), path


def test_every_map_that_is_not_free_refuses_unknown_keys() -> None:
    for path, node in [("", SCHEMA), *properties(SCHEMA)]:
        if "properties" in node:
            assert node["additionalProperties"] is False, path


def test_the_schema_itself_is_sound_and_accepts_the_defaults() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(VALUES)


def reference(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "scripts/chart-reference.py")
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, check=False
    )


def test_schema_and_readme_follow_the_comments() -> None:
    result = reference("--check")
    assert result.returncode == 0, result.stderr


def test_a_changed_comment_and_a_missing_one_are_noticed(tmp_path: Path) -> None:
    chart = Path(copytree(CHART, tmp_path / "sightline"))
    values = chart / "values.yaml"
    text = values.read_text()
    place = ("--chart", str(chart))
    values.write_text(text.replace("# -- Most pods.", "# -- At most so many pods."))
    check = reference(*place, "--check")
    assert check.returncode == 1
    assert "README.md is not current" in check.stderr
    assert "values.schema.json is not current" in check.stderr
    assert reference(*place).returncode == 0
    assert "At most so many pods." in (chart / "README.md").read_text()
    assert reference(*place, "--check").returncode == 0
    values.write_text(text.replace("  # -- Most pods.\n", ""))
    missing = reference(*place)
    assert missing.returncode != 0
    assert "autoscaling.maxReplicas has no comment" in missing.stderr


def test_the_settings_are_those_of_the_predictor_with_its_bounds_and_defaults() -> None:
    declared = SCHEMA["properties"]["settings"]["properties"]
    assert (
        set(declared) == set(VALUES["settings"]) == set(Settings.model_fields) - MADE_BY_THE_CHART
    )
    theirs = Settings.model_json_schema()["properties"]
    for name, node in declared.items():
        assert VALUES["settings"][name] == Settings.model_fields[name].default, name
        alternatives = theirs[name].get("anyOf", [theirs[name]])
        of_type = next(each for each in alternatives if each["type"] != "null")
        for bound in ("minimum", "maximum", "exclusiveMinimum"):
            assert node.get(bound) == of_type.get(bound), (name, bound)
        if "enum" in of_type:
            assert set(node["enum"]) == set(of_type["enum"]), name
        types = node["type"] if isinstance(node["type"], list) else [node["type"]]
        assert {each["type"] for each in alternatives} == set(types), name


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_the_predictor_accepts_every_variable_that_the_chart_sets(values: Path) -> None:
    for service in Rendered(files=[values]).all("InferenceService"):
        container = service["spec"]["predictor"]["containers"][0]
        settings = {
            each["name"].removeprefix(ENVIRONMENT_PREFIX).lower(): each["value"]
            for each in container["env"]
            if each["name"].startswith(ENVIRONMENT_PREFIX)
        }
        assert len(settings) > 15
        Settings.model_validate(settings)


def test_every_engine_of_the_predictor_can_be_chosen_and_no_other() -> None:
    from predictor.engine import ENGINES

    declared = SCHEMA["properties"]["settings"]["properties"]["engine"]["enum"]
    assert set(declared) == {"auto", *ENGINES}


def test_each_setting_reaches_the_predictor_unchanged() -> None:
    given = {
        "max_body_bytes": 134217728,
        "max_upload_bytes": 1073741824,
        "max_pixels": 1000000,
        "timeout_s": 2.5,
        "max_images": 32,
        "engine_threads": 4,
        "page": False,
        "engine": "openvino",
    }
    environment = Rendered({"settings": given}).environment
    for name, value in given.items():
        assert environment["SIGHTLINE_" + name.upper()] == str(value).lower()


def test_what_is_null_is_left_to_the_predictor() -> None:
    environment = Rendered().environment
    for name in ("MAX_IMAGES", "MAX_UPLOAD_BYTES", "DECODE_THREADS", "ENGINE_THREADS"):
        assert f"SIGHTLINE_{name}" not in environment


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 3}, "replicas"),
        ({"settings": {"max_batch": 3}}, "max_batch"),
        ({"settings": {"max_batch_size": 0}}, "/settings/max_batch_size"),
        ({"settings": {"engine": "tensorflow"}}, "/settings/engine"),
        ({"settings": {"timeout_s": 0}}, "/settings/timeout_s"),
        ({"deploymentMode": "Serverless"}, "/deploymentMode"),
        ({"profile": "tpu"}, "/profile"),
        ({"image": {"digest": "e3b0c442"}}, "/image/digest"),
        ({"autoscaling": {"type": "hpa+keda"}}, "/autoscaling/type"),
        ({"autoscaling": {"minReplicas": -1}}, "/autoscaling/minReplicas"),
        ({"canary": {"weightPercent": 101}}, "/canary/weightPercent"),
        ({"route": {"type": "ingress"}}, "/route/type"),
        ({"mlflow": {"trackingUri": "http://user:secret@mlflow"}}, "/mlflow/trackingUri"),
        ({"token": {"secretName": "Tokens!"}}, "/token/secretName"),
        ({"networkPolicy": {"ingress": {"gateway": [{}]}}}, "/networkPolicy/ingress/gateway"),
    ],
)
def test_the_schema_refuses(values: dict[str, Any], said: str) -> None:
    message = refusal(values)
    assert "values don't meet the specifications of the schema" in message
    assert said.replace("/", ".").lstrip(".") in message.replace("/", ".")


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_helm_lint_is_strictly_content(values: Path) -> None:
    result = run("lint", "--strict", str(CHART), "--values", str(values))
    assert result.returncode == 0, result.stdout


def test_chart_and_project_have_one_version() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == project["version"]
