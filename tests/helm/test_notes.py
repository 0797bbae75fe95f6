"""What helm says after an installation: commands that fit the release."""

import re
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

from tests.helm.chart import CHART, CI_VALUES, URI, template

PLAIN: Any = {"model": {"uri": URI}}


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart with its notes as one more object: `helm template` leaves them out."""
    chart = Path(copytree(CHART, tmp_path_factory.mktemp("notes") / "sightline"))
    (chart / "templates/NOTES.txt").rename(chart / "NOTES.txt")
    (chart / "templates/notes.yaml").write_text(
        'notes: {{ tpl (.Files.Get "NOTES.txt") . | toJson }}\n'
    )
    return chart


def notes(chart: Path, values: Mapping[str, Any] = PLAIN, *files: Path) -> str:
    result = template(values, files, chart=chart)
    assert result.returncode == 0, result.stderr
    found = [
        each["notes"] for each in yaml.safe_load_all(result.stdout) if each and "notes" in each
    ]
    assert len(found) == 1
    return str(found[0])


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_every_release_is_told_what_to_run_next(chart: Path, values: Path) -> None:
    text = notes(chart, {}, values)
    assert re.search(r"-n models wait inferenceservice/cxr(-primary)? --for=condition=Ready", text)
    assert "helm -n models test cxr" in text
    assert re.search(r"curl -sS \$URL/v1/models/(cxr|chest):explain", text)
    assert "<no value>" not in text
    assert "%!" not in text
    assert not re.search(r"\n\n\n", text)
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)


def test_the_address_fits_the_route(chart: Path) -> None:
    assert "jsonpath='{.status.url}'" in notes(chart)
    local = notes(chart, PLAIN | {"route": {"type": "clusterLocal"}})
    assert "port-forward deployment/cxr-predictor 8080" in local
    route = {"type": "httpRoute", "parentRefs": [{"name": "g"}], "hostnames": ["a.example"]}
    assert "URL=http://a.example\n" in notes(chart, PLAIN | {"route": route})


def test_a_token_is_read_from_its_secret_and_sent(chart: Path) -> None:
    text = notes(chart, PLAIN | {"token": {"secretName": "tokens", "key": "a.txt"}})
    assert "get secret tokens -o jsonpath='{.data.a\\.txt}'" in text
    assert '-H "Authorization: Bearer $TOKEN"' in text
    assert "TOKEN" not in notes(chart)


def test_an_alias_is_warned_of(chart: Path) -> None:
    model = {"uri": "mlflow://cxr@champion", "allowAlias": True}
    text = notes(chart, {"model": model, "mlflow": {"trackingUri": "http://mlflow"}})
    assert "mlflow://cxr@champion is an alias" in text


def test_with_the_analyst_the_primary_is_waited_for_once_it_is_there(chart: Path) -> None:
    route = {"type": "httpRoute", "parentRefs": [{"name": "g"}]}
    analyst = {"enabled": True, "prometheus": {"address": "http://prometheus"}}
    text = notes(chart, PLAIN | {"route": route, "analyst": analyst})
    made = text.index("wait inferenceservice/cxr-primary --for=create")
    assert made < text.index("wait inferenceservice/cxr-primary --for=condition=Ready")
    assert "wait inferenceservice/cxr " not in text
    assert "port-forward deployment/cxr-primary-predictor" in text
    assert "podMonitor.enabled is false" in text
    scraped = {"route": route, "analyst": analyst, "podMonitor": {"enabled": True}}
    assert "podMonitor.enabled is false" not in notes(chart, PLAIN | scraped)


def test_keda_without_pods_or_metrics_is_warned_of(chart: Path) -> None:
    keda: Any = {"type": "keda", "keda": {"serverAddress": "http://prometheus"}}
    assert "podMonitor.enabled is false" in notes(chart, PLAIN | {"autoscaling": keda})
    keda["minReplicas"] = 0
    keda["keda"]["query"] = "sum(x)"
    values = PLAIN | {"autoscaling": keda, "podDisruptionBudget": {"enabled": False}}
    assert "the first requests fail" in notes(chart, values)
