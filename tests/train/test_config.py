import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from train.config import TrainConfig, dump_config, load_config, override_later
from train.errors import ConfigError

YAML = """
name: cxr
output: out
data:
  root: images
  classes:
    - {key: a, name: A, description: first, severity: none}
    - {key: b, name: B, description: second, severity: high}
loop: {epochs: 7}
"""


COMBINATIONS = [
    ({"momentum": 0.9}, r"loop\.momentum is 0\.9, but loop\.optimiser is 'adamw'.*sgd"),
    ({"nesterov": True}, r"loop\.nesterov is True, but loop\.optimiser is 'adamw'"),
    ({"optimiser": "sgd", "momentum": 0.0, "nesterov": True}, r"loop\.nesterov .*loop\.momentum"),
    ({"decay_epochs": 3}, r"loop\.decay_epochs is 3, but loop\.schedule is 'cosine'.*step"),
    ({"decay_factor": 0.5}, r"loop\.decay_factor .*loop\.schedule is 'cosine'.*step and plateau"),
    ({"plateau_patience": 2}, r"loop\.plateau_patience .*loop\.schedule"),
    ({"schedule": "plateau", "patience": 3}, r"loop\.plateau_patience is 3, .*loop\.patience is 3"),
    ({"schedule": "one_cycle", "warmup_epochs": 0}, r"loop\.warmup_epochs is 0, .*loop\.schedule"),
    ({"warmup_epochs": 8}, r"loop\.warmup_epochs is 8, but loop\.epochs is 7"),
    ({"focal_gamma": 1.0}, r"loop\.focal_gamma .*loop\.loss is 'cross_entropy'"),
    ({"effective_beta": 0.9}, r"loop\.effective_beta .*loop\.class_weights is 'none'"),
    (
        {"sampler": "balanced", "class_weights": "balanced"},
        r"loop\.class_weights is 'balanced', but loop\.sampler is 'balanced'",
    ),
    ({"class_weights": {"a": 0.0}}, r"loop\.class_weights\.a is 0; it must be greater than 0"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(YAML)
    return path


def load(file: Path, *overrides: str, **environment: str) -> TrainConfig:
    return load_config(file, overrides, environment)


def test_later_sources_win(file: Path) -> None:
    assert load(file).loop.epochs == 7
    assert load(file, SIGHTLINE_TRAIN_LOOP__EPOCHS="8").loop.epochs == 8
    assert load(file, "loop.epochs=9", SIGHTLINE_TRAIN_LOOP__EPOCHS="8").loop.epochs == 9


def test_keys_without_a_value_keep_their_defaults(file: Path) -> None:
    config = load(file, "loop.batch_size=4")
    assert (config.loop.epochs, config.loop.batch_size) == (7, 4)
    assert config.loop.learning_rate == 1e-3


def test_other_environment_variables_are_ignored(file: Path) -> None:
    assert load(file, SIGHTLINE_LOOP__EPOCHS="1", PATH="x").loop.epochs == 7


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("loop.epohs=3", r"loop\.epohs is unknown; did you mean loop\.epochs\?.*batch_size"),
        ("lop.epochs=3", r"key lop is unknown; did you mean loop\?.*top level: name, output"),
        ("data.split.tset=0.1", r"data\.split\.tset is unknown.*allowed below data\.split: val"),
        ("loop.epochs=0", r"field loop\.epochs is 0: .*greater than or equal to 1"),
        ("loop.epochs=many", r"field loop\.epochs is 'many'.*integer"),
        ("loop.device=tpu", r"field loop\.device is 'tpu'.*'auto', 'cpu' or 'cuda'"),
        ("loop.epochs.x=3", r"loop\.epochs is 7, which has no keys below it"),
        ("loop.epochs", r"'loop\.epochs' is not of the form key=value"),
        ("loop.epochs={", r"not YAML"),
        ("name=../x", r"field name is '\.\./x'"),
        ("data.split={val: 0.49, test: 0.49}", r"leave less than 10 % for training"),
        ("data.root=null", r"data\.root is None: .*a path or a URL is expected"),
        ("data.table=5", r"data\.table is 5: .*a path or a URL is expected"),
        ("seed=-1", r"field seed is -1"),
        ("data.decode.width_px=1", r"data\.decode\.width_px is 1"),
        (
            "data.classes=[{key: a, name: A, descripton: x, severity: none}]",
            r"field data\.classes\.0\.description: Field required",
        ),
        (
            "tracking.tracker=wandb2",
            r"tracking\.tracker is 'wandb2'.*accepted: mlflow, none, wandb",
        ),
    ],
)
def test_a_wrong_override_names_key_value_and_what_is_allowed(
    file: Path, item: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(file, item)


@pytest.mark.parametrize(("settings", "message"), COMBINATIONS)
def test_settings_that_do_not_go_together_are_both_named(
    file: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(file, *(f"loop.{key}={json.dumps(value)}" for key, value in settings.items()))


def test_a_medical_preset_flips_nothing(file: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"augment\.flip is 0\.5, but augment\.preset is 'medical'"
    ):
        load(file, "augment.flip=0.5")
    assert load(file, "augment.flip=0.5", "augment.preset=light").augment.flip == 0.5


def test_a_wrong_environment_variable_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"loop\.epohs is unknown"):
        load(file, SIGHTLINE_TRAIN_LOOP__EPOHS="3")


def test_a_missing_field_is_named(file: Path) -> None:
    tree = yaml.safe_load(YAML)
    del tree["data"]["root"]
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"field data\.root: Field required"):
        load(file)


@pytest.mark.parametrize("text", ["- a\n", "a: [", "\x00"])
def test_a_file_that_is_no_mapping_is_named(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml is unreadable"):
        load(tmp_path / "nowhere.yaml")


def test_the_dump_can_be_read_back(file: Path) -> None:
    config = load(file)
    assert TrainConfig.model_validate_json(dump_config(config)) == config


def test_a_later_step_changes_only_what_it_names(file: Path) -> None:
    config = load(file)
    changed = override_later(config, ["release.min_macro_f1=0.5"], {})
    assert changed.release.min_macro_f1 == 0.5
    assert changed.model_copy(update={"release": config.release}) == config


@pytest.mark.parametrize("item", ["data.root=x", "export.int8=false", "tracking.tracker=none"])
def test_a_later_step_can_change_what_the_weights_do_not_depend_on(file: Path, item: str) -> None:
    assert override_later(load(file), [item], {}) != load(file)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            "loop.epochs=9",
            r"loop\.epochs is 9, but fit has trained with 7; .*data\.root, data\.sto",
        ),
        ("data.decode.width_px=64", r"data\.decode\.width_px is 64, but .*224"),
        ("model.options={width: 8}", r"model\.options"),
        ("data.classes=other.yaml", r"data\.classes is 'other\.yaml', but fit"),
        ("name=other", r"name is 'other', but fit has trained with 'cxr'"),
    ],
)
def test_a_later_step_cannot_change_what_was_trained(file: Path, item: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override_later(load(file), [item], {})


def test_a_later_step_reads_the_environment_too(file: Path) -> None:
    variables = {"SIGHTLINE_TRAIN_RELEASE__ALIAS": "best", "SIGHTLINE_TRAIN_LOOP__EPOCHS": "7"}
    assert override_later(load(file), [], variables).release.alias == "best"
    with pytest.raises(ConfigError, match=r"loop\.epochs is 8, but fit has trained with 7"):
        override_later(load(file), [], variables | {"SIGHTLINE_TRAIN_LOOP__EPOCHS": "8"})


def test_the_command_line_answers_with_code_2_and_one_line(file: Path) -> None:
    done = subprocess.run(
        check=False,
        args=[sys.executable, "-m", "train", "fit", "--config", str(file), "loop.epohs=3"],
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: config key loop.epohs is unknown")
    assert "Traceback" not in done.stderr
