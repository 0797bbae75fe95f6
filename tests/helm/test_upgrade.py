"""What an upgrade changes, and what it must not."""

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

from tests.helm.chart import CHART, CI_VALUES, Object, Rendered

TRAINING: Any = {
    "model": {"uri": "mlflow://cxr/7"},
    "mlflow": {"trackingUri": "http://mlflow"},
    "training": {"enabled": True, "runsClaimName": "runs", "config": {"name": "cxr"}},
}


@pytest.fixture(scope="module")
def later_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same chart, released again."""
    chart = Path(copytree(CHART, tmp_path_factory.mktemp("later") / "sightline"))
    description = yaml.safe_load((chart / "Chart.yaml").read_text())
    description["version"] = "0.2.0"
    (chart / "Chart.yaml").write_text(yaml.safe_dump(description))
    return chart


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_a_release_of_the_chart_alone_restarts_nothing(values: Path, later_chart: Path) -> None:
    before, after = Rendered(files=[values]), Rendered(files=[values], chart=later_chart)
    assert json.dumps(before.objects) == json.dumps(after.objects)


def test_another_bundle_changes_the_predictor_alone() -> None:
    before = Rendered()
    after = Rendered({"model": {"uri": "s3://models/cxr/8"}})
    changed = [a["kind"] for a, b in zip(after.objects, before.objects, strict=True) if a != b]
    assert changed == ["InferenceService"]
    assert after.service["metadata"] == before.service["metadata"]


def identity(rendered: Rendered) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in rendered.objects}


def test_names_do_not_depend_on_what_is_served_or_how() -> None:
    changes: list[Object] = [
        {"model": {"uri": "gs://other/bundle", "version": "9"}},
        {"image": {"tag": "0.2.0"}},
        {"profile": "gpu"},
        {"settings": {"engine": "openvino"}},
        {"commonLabels": {"team": "imaging"}},
    ]
    for values in changes:
        assert identity(Rendered(values)) == identity(Rendered())


def job(values: Any) -> Object:
    return Rendered(values).one("Job")


def test_a_job_is_never_changed_but_another_takes_its_place() -> None:
    first = job(TRAINING)
    assert job(TRAINING) == first
    changes: list[Object] = [
        {"config": {"name": "cxr", "loop": {"epochs": 3}}},
        {"imageTag": "0.2.0"},
        {"retries": 5},
        {"dataClaimName": "images"},
    ]
    for change in changes:
        other = job(TRAINING | {"training": TRAINING["training"] | change})
        assert other["metadata"]["name"] != first["metadata"]["name"]


def test_what_is_served_does_not_start_a_training() -> None:
    other = TRAINING | {"model": {"uri": "mlflow://cxr/8"}, "profile": "gpu"}
    assert job(other) == job(TRAINING)


def test_a_cron_job_keeps_its_name() -> None:
    values = TRAINING | {"training": TRAINING["training"] | {"schedule": "0 3 * * *"}}
    changed = TRAINING | {
        "training": TRAINING["training"] | {"schedule": "0 4 * * *", "config": {"name": "x"}}
    }
    names = {Rendered(each).one("CronJob")["metadata"]["name"] for each in (values, changed)}
    assert names == {"cxr-training"}
