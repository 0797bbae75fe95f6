"""The configuration: pydantic models, filled from YAML, environment and `key=value`."""

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from model.bundle import validation_message
from model.decision import RiskPolicy
from train.data_config import DataConfig
from train.errors import ConfigError
from train.presets import AugmentConfig
from train.recipe import LoopConfig, ModelConfig
from train.reporting import EvaluateConfig
from train.section import Section

T = TypeVar("T", bound=BaseModel)

ENVIRONMENT_PREFIX = "SIGHTLINE_TRAIN_"
# What the steps after fit may still change: nothing that the trained weights depend on.
LATER = (
    "data.columns.metadata",
    "data.root",
    "data.storage_options",
    "data.cache",
    "data.threads",
    "evaluate",
    "export",
    "release",
    "risk",
    "tracking",
)


class ExportConfig(Section):
    """What is exported and what the INT8 gate asks for."""

    int8: bool = True
    max_f1_drop: float = Field(
        default=0.01, gt=0.0, description="INT8 must lose less macro-F1 than this"
    )
    calibration_images: int = Field(default=128, ge=1)
    reference_images: int = Field(default=8, ge=2, le=256)
    averaged_images: int = Field(
        default=4, ge=1, description="training images averaged into one reference image"
    )


class ReleaseConfig(Section):
    """The deployment gate."""

    alias: str = Field(default="champion", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")
    min_macro_f1: float = Field(
        default=0.85, ge=0.0, le=1.0, description="asked of a model without predecessor"
    )


class TrackingConfig(Section):
    """Where runs are recorded."""

    tracker: str = Field(default="mlflow", description="mlflow, wandb or none")
    uri: str | None = Field(
        default=None, description="MLflow; else $MLFLOW_TRACKING_URI, else sqlite in mlflow.db"
    )
    experiment: str = Field(default="sightline", description="experiment, or project, of the runs")

    @field_validator("tracker")
    @classmethod
    def _known(cls, tracker: str) -> str:
        # Imported here because it imports this.
        from train.tracking.registry import TRACKERS

        if tracker not in TRACKERS:
            raise ValueError(f"accepted: {', '.join(TRACKERS)}")
        return tracker


class TrackedConfig(Section):
    """What is kept with a recorded run, so that its store is found again."""

    tracking: TrackingConfig


class TrainConfig(Section):
    """Everything a run depends on."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", description="registered model")
    output: Path = Field(description="run directory; written by fit, read by the later steps")
    seed: int = Field(default=0, ge=0, lt=2**32)
    data: DataConfig
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    loop: LoopConfig = LoopConfig()
    risk: RiskPolicy = RiskPolicy()
    evaluate: EvaluateConfig = EvaluateConfig()
    export: ExportConfig = ExportConfig()
    release: ReleaseConfig = ReleaseConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _columns_to_slice_by(self) -> "TrainConfig":
        names = [each.column for each in self.evaluate.slices]
        columns = self.data.columns
        if names and self.data.table is None:
            raise ValueError(f"evaluate.slices is {names}, columns of a table; set data.table")
        for name in names:
            if name in (columns.file, columns.label, columns.group, "patient"):
                raise ValueError(
                    f"evaluate.slices has {name!r}, the column of the files, labels or patients; "
                    "a report tells of slices such as sex, site or age"
                )
        return self

    @model_validator(mode="after")
    def _room_to_train(self) -> "TrainConfig":
        if self.data.split.val + self.data.split.test >= 0.9:
            raise ValueError("data.split.val + data.split.test leave less than 10 % for training")
        if self.loop.freeze_epochs and self.model.weights == "none":
            raise ValueError(
                f"loop.freeze_epochs is {self.loop.freeze_epochs}, but model.weights is 'none': a "
                "head learns nothing from a backbone that is random and frozen"
            )
        return self


def load_config(
    file: Path | None,
    overrides: Iterable[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> TrainConfig:
    """Read the configuration; later sources win: YAML, then environment, then `key=value`.

    The environment names a key by prefix and double underscores:
    `SIGHTLINE_TRAIN_LOOP__EPOCHS=3` is `loop.epochs=3`. Values are YAML.

    Raises:
        ConfigError: a key is unknown or its value wrong; names it and what is accepted.
    """
    return load_settings(TrainConfig, file, overrides, environment, ENVIRONMENT_PREFIX)


def load_settings(
    schema: type[T],
    file: Path | None,
    overrides: Iterable[str],
    environment: Mapping[str, str],
    prefix: str,
    what: str = "config",
) -> T:
    """Read settings of any schema from the same sources as :func:`load_config`.

    Args:
        schema: what is accepted.
        file: YAML.
        overrides: `key=value`.
        environment: of the process.
        prefix: of the variables that name a key.
        what: how errors call the settings.

    Raises:
        ConfigError: a key is unknown or its value wrong; names it and what is accepted.
    """
    tree = _read_yaml(file, what) if file is not None else {}
    return _validate(schema, _changed(tree, overrides, environment, prefix), what)


def with_values(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """The configuration with other values of some keys such as `loop.epochs`.

    Raises:
        ConfigError: a key is unknown or its value wrong; names it and what is accepted.
    """
    # Not as JSON, which leaves out the secrets of a URL.
    tree = config.model_dump()
    for key, value in values.items():
        _assign(tree, key, value, f"value {value!r} of {key}")
    return _validate(TrainConfig, tree)


def override_later(
    config: TrainConfig,
    overrides: Iterable[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> TrainConfig:
    """The configuration of a run as a step after fit uses it, from the same sources.

    Raises:
        ConfigError: a key is wrong, or differs from what fit has trained with.
    """
    tree = config.model_dump(mode="json")
    changed = _validate(TrainConfig, _changed(tree, overrides, environment))
    old, new = flatten(config), flatten(changed)
    for key in sorted(old.keys() | new.keys()):
        if key != "output" and not is_later(key) and old.get(key) != new.get(key):
            raise ConfigError(
                f"config key {key} is {new.get(key)!r}, but fit has trained with {old.get(key)!r}; "
                f"a later step can change only {', '.join(LATER)}"
            )
    return changed


def load_tracking(
    file: Path, overrides: Iterable[str] = (), environment: Mapping[str, str] = os.environ
) -> TrackingConfig:
    """Where a run is recorded, from what was kept with it, the environment and `key=value`.

    Raises:
        ConfigError: a key is unknown, wrong, or not below `tracking`.
    """
    prefix = f"{ENVIRONMENT_PREFIX}TRACKING__"
    ours = {name: value for name, value in environment.items() if name.startswith(prefix)}
    return load_settings(TrackedConfig, file, overrides, ours, ENVIRONMENT_PREFIX).tracking


def dump_config(config: TrainConfig) -> str:
    """The whole configuration as JSON, every default written out."""
    return json.dumps(config.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"


def is_later(key: str) -> bool:
    """Whether a step after fit may change this key."""
    return any(f"{key}.".startswith(f"{each}.") for each in LATER)


def flatten(config: TrainConfig) -> dict[str, Any]:
    """The whole configuration with keys such as `loop.epochs`."""
    return _flat(config.model_dump(mode="json"), "")


def _flat(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _changed(
    tree: dict[str, Any],
    overrides: Iterable[str],
    environment: Mapping[str, str],
    prefix: str = ENVIRONMENT_PREFIX,
) -> dict[str, Any]:
    for name, text in sorted(environment.items()):
        if name.startswith(prefix):
            key = name.removeprefix(prefix).lower().replace("__", ".")
            source = f"environment variable {name}"
            _assign(tree, key, _parsed(text, source), source)
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {item!r} is not of the form key=value")
        _assign(tree, key, _parsed(text, f"override {item!r}"), f"override {item!r}")
    return tree


def _read_yaml(file: Path, what: str = "config") -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} file {file} is unreadable: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} file {file} is not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{what} file {file} holds {type(tree).__name__}; a mapping is expected")
    return tree


def _parsed(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text) if text else None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: the value is not YAML: {error}") from error


def _assign(tree: dict[str, Any], key: str, value: Any, source: str) -> None:
    *parents, leaf = key.split(".")
    node = tree
    for depth, parent in enumerate(parents):
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            path = ".".join(parents[: depth + 1])
            raise ConfigError(f"{source}: {path} is {child!r}, which has no keys below it")
        node = child
    node[leaf] = value


def _validate(schema: type[T], tree: dict[str, Any], what: str = "config") -> T:
    _refuse_unknown(schema, tree, "", what)
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{what} {validation_message(error)}") from error


def _refuse_unknown(
    schema: type[BaseModel], tree: Mapping[str, Any], prefix: str, what: str
) -> None:
    for key, value in tree.items():
        field = schema.model_fields.get(key)
        if field is None:
            near = difflib.get_close_matches(str(key), schema.model_fields, n=1)
            hint = f"did you mean {prefix}{near[0]}? " if near else ""
            where = f"below {prefix[:-1]}" if prefix else "at the top level"
            allowed = ", ".join(schema.model_fields)
            raise ConfigError(
                f"{what} key {prefix}{key} is unknown; {hint}allowed {where}: {allowed}"
            )
        section = _section_of(field.annotation)
        if section is not None and isinstance(value, Mapping):
            _refuse_unknown(section, value, f"{prefix}{key}.", what)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
