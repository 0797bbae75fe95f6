import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mlflow import MlflowClient

from model.architectures import build
from train.__main__ import main
from train.baselines import Wanted, parse_wanted
from train.errors import ConfigError

from .conftest import shapes_tree


@pytest.fixture
def config(shapes: Path, tmp_path: Path) -> Path:
    tree = shapes_tree(shapes, tmp_path / "out")
    tree["loop"] |= {"epochs": 1, "batch_size": 16, "freeze_epochs": 0}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path / "config.yaml"


def figures(config: Path) -> list[dict[str, Any]]:
    found = json.loads((config.parent / "out" / "baselines" / "baselines.json").read_text())
    return list(found["baselines"])


def test_networks_are_told_from_settings() -> None:
    wanted, overrides = parse_wanted(["resnet18", "loop.epochs=3", "resnet50=a=b.pt"])
    assert wanted == [
        Wanted("baseline", "none"),
        Wanted("resnet18", "imagenet"),
        Wanted("resnet50", "a=b.pt"),
    ]
    assert overrides == ["loop.epochs=3"]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["resnet19"], "architecture 'resnet19' is unknown; accepted: baseline, convnext_tiny"),
        (["resnet18", "resnet18=none"], "resnet18 is named twice"),
    ],
)
def test_a_wrong_network_is_named(items: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_wanted(items)


def test_all_are_compared_in_one_table_and_finished_ones_are_kept(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(build("resnet18", 5).state_dict(), tmp_path / "w.pth")
    items = [f"resnet18={tmp_path / 'w.pth'}"]
    out = tmp_path / "out" / "baselines"
    assert main(["baselines", "--config", str(config), *items]) == 0
    first = figures(config)
    assert [each["architecture"] for each in first] == ["baseline", "resnet18"]
    assert first[0]["parameters"] < first[1]["parameters"]
    assert all(each["images_per_second"] > 0 for each in first)
    assert all(
        0 <= each["macro_f1_low"] <= each["macro_f1"] <= each["macro_f1_high"] <= 1
        for each in first
    )
    told = capsys.readouterr().err
    assert "| resnet18 |" in told
    assert "it has 5 classes: the last layer begins anew" in told
    assert (out / "baselines.md").read_text() in told
    splits = [(out / n / "split.csv").read_text() for n in ("baseline", "resnet18")]
    assert splits[0] == splits[1]

    # Interrupted before the second was done, only that one is trained again, below the same parent.
    (out / "resnet18" / "baseline.json").unlink()
    assert main(["baselines", "--config", str(config), *items]) == 0
    second = figures(config)
    assert second[0] == first[0]
    assert second[1]["macro_f1"] == first[1]["macro_f1"]
    assert second[1]["seconds"] != first[1]["seconds"]
    assert main(["baselines", "--config", str(config), *items]) == 0
    assert figures(config) == second

    store = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = store.get_experiment_by_name("sightline")
    assert experiment is not None
    runs = store.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    parents = [run for run in runs if run.data.tags["step"] == "baselines"]
    assert len(parents) == 1
    assert parents[0].data.metrics["test_macro_f1/resnet18"] == second[1]["macro_f1"]
    nested = {run.data.tags.get("mlflow.parentRunId") for run in runs if run not in parents}
    assert nested == {parents[0].info.run_id}


def test_weights_that_are_missing_are_named_before_anything_is_trained(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baselines", "--config", str(config), "resnet18=nowhere.pth"]) == 2
    assert "model.weights is 'nowhere.pth', and there is no such file" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.pt"))


def test_other_settings_train_anew(config: Path) -> None:
    assert main(["baselines", "--config", str(config)]) == 0
    first = figures(config)
    assert main(["baselines", "--config", str(config), "loop.epochs=2"]) == 0
    assert [each["epochs"] for each in (*first, *figures(config))] == [1, 2]
