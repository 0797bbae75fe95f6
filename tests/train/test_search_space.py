"""A search is refused before anything starts where its space does not fit the configuration."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml

from train.__main__ import main
from train.config import TrainConfig
from train.errors import ConfigError, SearchError
from train.search.config import SearchConfig, load_search
from train.search.slots import make_slots
from train.search.space import check_search, grid
from train.search.study import make_sampler, open_study, quiet

from .conftest import shapes_tree

RATE = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}


def search(directory: Path, **changes: Any) -> SearchConfig:
    tree = {"name": "s", "output": str(directory / "study"), "trials": 4}
    return SearchConfig.model_validate(tree | {"space": {"loop.learning_rate": RATE}} | changes)


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig.model_validate(shapes_tree(tmp_path / "shapes", tmp_path / "run"))


@pytest.mark.parametrize(
    ("key", "parameter", "message"),
    [
        ("loop.learning_rat", RATE, r"loop\.learning_rat is unknown; did you mean loop\.learn"),
        ("loop.learning_rate", RATE | {"low": -1.0, "log": False}, r"-1\.0 is not accepted: .*gre"),
        ("augment.rotate_deg", {"type": "float", "low": 0, "high": 181}, r"181\.0 is not accepted"),
        ("loop.epochs", {"type": "float", "low": 1, "high": 9}, r"loop\.epochs: 3\.5.*integer"),
        ("loop.amp", {"type": "categorical", "choices": ["off", "on"]}, "'on' is not accepted"),
        ("model.options.depth", {"type": "int", "low": 2, "high": 9}, "9 is not accepted: .*depth"),
        ("model.architecture", {"type": "categorical", "choices": ["resnet81"]}, "resnet81"),
        ("data.root", {"type": "categorical", "choices": ["a", "b"]}, "cannot be searched"),
        ("data.split.val", {"type": "float", "low": 0.1, "high": 0.2}, "cannot be searched"),
        ("release.alias", {"type": "categorical", "choices": ["a"]}, "cannot be searched"),
        ("loop", {"type": "categorical", "choices": [1]}, "is a section"),
    ],
)
def test_a_key_that_does_not_fit_the_configuration_is_named(
    config: TrainConfig, tmp_path: Path, key: str, parameter: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        check_search(search(tmp_path, space={key: parameter}), config, 3)
    assert f"search key space.{key}" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"a": {"type": "float", "low": 2, "high": 1}}}, "low is 2.0, above high"),
        ({"space": {"a": {"type": "int", "low": 0, "high": 1, "log": True}}}, "must be above 0"),
        ({"space": {"a": {"type": "real", "low": 0, "high": 1}}}, "float.*int.*categorical"),
        ({"space": {"a": {"type": "categorical", "choices": [1, 1]}}}, "there twice"),
        ({"space": {}}, "at least 1"),
        ({"trials": None}, "would not end"),
        ({"jobs": 0}, "jobs is 0"),
        ({"sampler": "tpo"}, "'tpe', 'grid' or 'random'"),
    ],
)
def test_settings_that_make_no_search_are_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    tree = {"name": "s", "output": "o", "trials": 4, "space": {"loop.epochs": RATE}} | changes
    file = tmp_path / "search.yaml"
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=message):
        load_search(file, (), {})


def test_the_test_split_is_not_searched_on(config: TrainConfig, tmp_path: Path) -> None:
    for objective in ("test_macro_f1", "train_loss"):
        with pytest.raises(ConfigError, match=r"accepted: val_loss.*\(the test split is never"):
            check_search(search(tmp_path, objective=objective), config, 3)


def test_losses_go_down_and_scores_up(tmp_path: Path) -> None:
    assert search(tmp_path).towards == "maximize"
    assert search(tmp_path, objective="val_loss").towards == "minimize"
    assert search(tmp_path, objective="val_loss", direction="maximize").towards == "maximize"


def test_a_grid_has_every_step(tmp_path: Path) -> None:
    space = {
        "loop.learning_rate": {"type": "float", "low": 0.1, "high": 0.3, "step": 0.1},
        "loop.epochs": {"type": "int", "low": 2, "high": 5, "step": 2},
        "loop.amp": {"type": "categorical", "choices": ["off", "auto"]},
    }
    values = grid(search(tmp_path, space=space).space)
    assert values["loop.learning_rate"] == pytest.approx([0.1, 0.2, 0.3])
    assert values["loop.epochs"] == [2, 4]
    with pytest.raises(ConfigError, match=r"space\.loop\.learning_rate has no step"):
        grid(search(tmp_path).space)


def test_environment_and_overrides_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(yaml.safe_dump(search(tmp_path).model_dump(mode="json")))
    environment = {"SIGHTLINE_SEARCH_TRIALS": "7", "SIGHTLINE_SEARCH_PRUNER__TYPE": "hyperband"}
    found = load_search(file, ["seed=5"], environment)
    assert (found.trials, found.seed, found.pruner.type) == (7, 5, "hyperband")


def test_an_error_of_the_command_says_where_it_is(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"config": config, "search": search(tmp_path)}
    for name, content in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content.model_dump(mode="json")))
    command = ["tune", *(f"--{name}={tmp_path / name}.yaml" for name in files)]
    assert main([*command, "search.trails=3"]) == 2
    assert "search key trails is unknown; did you mean trials?" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_storage_that_is_none_is_named_without_its_password(
    config: TrainConfig, tmp_path: Path
) -> None:
    with quiet(), pytest.raises(SearchError, match="storage is no database URL"):
        open_study(search(tmp_path, storage="somewhere"), config)
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/studies"
    with quiet(), pytest.raises(SearchError, match=r"me:\*\*\*@127.0.0.1:1") as raised:
        open_study(search(tmp_path, storage=url), config)
    assert "secret" not in str(raised.value)


def draws(settings: SearchConfig, interruptions: tuple[int, ...] = ()) -> list[float]:
    """Twelve values of a study whose process ends after some of the trials."""
    study = optuna.create_study(sampler=make_sampler(settings))
    for number in range(12):
        if number in interruptions:
            study.sampler = make_sampler(settings)
        trial = study.ask()
        rate = trial.suggest_float("loop.learning_rate", 1e-4, 1e-2, log=True)
        study.tell(trial, rate)
    return [trial.params["loop.learning_rate"] for trial in study.trials]


def test_an_interrupted_search_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    settings = search(tmp_path, startup_trials=4)
    with quiet():
        whole = draws(settings)
        assert len(set(whole)) == 12
        assert draws(settings, (2, 3, 9)) == whole
        assert draws(settings.model_copy(update={"seed": 1})) != whole


def test_trials_share_out_gpus_or_else_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.search.slots.usable_cpus", lambda: 6)
    # There is no GPU here: only how many there are, and what names they have, is made up.
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def slots(device: str, trials: int = 100, **changes: Any) -> list[dict[str, str]]:
        return [s.environment for s in make_slots(search(tmp_path, **changes), device, trials)]

    def on(gpu: str) -> dict[str, str]:
        return {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": gpu}

    assert slots("auto") == [on("0"), on("1")]
    assert slots("auto", trials=1) == [{"OMP_NUM_THREADS": "6", "CUDA_VISIBLE_DEVICES": "0"}]
    assert [s["CUDA_VISIBLE_DEVICES"] for s in slots("cuda", jobs=3)] == ["0", "1", "0"]
    assert slots("cpu") == [{"OMP_NUM_THREADS": "1"}] * 6
    assert slots("cpu", jobs=2) == [{"OMP_NUM_THREADS": "3"}] * 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    assert slots("auto") == [on("MIG-a"), on("MIG-b")]
