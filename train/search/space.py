"""The space of a search, checked against the configuration before anything starts."""

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import torch
from optuna.trial import Trial

from model.architectures import build
from model.errors import SightlineError
from train.config import TrainConfig, flatten, is_later, with_values
from train.errors import ConfigError
from train.search.config import Choice, FloatRange, IntRange, Parameter, Scalar, SearchConfig
from train.state import Epoch

Space = dict[str, Parameter]

_LARGEST_GRID = 100_000
# Neither changes what is learnt, or each would make the trials incomparable.
_FIXED = ("name", "output", "data", "loop.resume", "loop.checkpoint_minutes", "loop.device")
_SEARCHABLE_DATA = ("data.decode",)


def check_search(search: SearchConfig, config: TrainConfig, classes: int) -> None:
    """Refuse a search that would fail later, or whose result would mean nothing.

    Args:
        search: the search.
        config: what every trial has in common.
        classes: K, for networks that are searched.

    Raises:
        ConfigError: names the key, the value and what is accepted.
    """
    objectives = [field.name for field in fields(Epoch) if field.name.startswith("val_")]
    if search.objective not in objectives:
        raise ConfigError(
            f"search key objective is {search.objective!r}; accepted: {', '.join(objectives)} "
            "(the test split is never searched on)"
        )
    for key, parameter in search.space.items():
        _check_key(key, config)
        for value in _probes(parameter):
            _check_value(key, value, config, classes)
    if search.sampler == "grid":
        grid(search.space)


def suggest(trial: Trial, space: Space) -> dict[str, Scalar]:
    """Let the sampler draw a value for every key."""
    return {key: _suggest(trial, key, parameter) for key, parameter in space.items()}


def grid(space: Space) -> dict[str, list[Scalar]]:
    """The values of every key of a finite space.

    Raises:
        ConfigError: a range has no step, or the grid has no end.
    """
    values: dict[str, list[Scalar]] = {}
    for key, parameter in space.items():
        if isinstance(parameter, Choice):
            values[key] = list(parameter.choices)
        elif isinstance(parameter, IntRange) and not parameter.log:
            values[key] = list(range(parameter.low, parameter.high + 1, parameter.step))
        elif isinstance(parameter, FloatRange) and parameter.step is not None:
            count = math.floor((parameter.high - parameter.low) / parameter.step + 1e-9) + 1
            values[key] = [parameter.low + n * parameter.step for n in range(count)]
        else:
            raise ConfigError(
                f"search key space.{key} has no step, and a grid needs one; or list its values "
                "as choices"
            )
    if grid_size(values) > _LARGEST_GRID:
        raise ConfigError(f"the grid has {grid_size(values):,} points; sampler: tpe needs fewer")
    return values


def grid_size(values: dict[str, list[Scalar]]) -> int:
    return math.prod(len(each) for each in values.values())


def _suggest(trial: Trial, key: str, parameter: Parameter) -> Scalar:
    if isinstance(parameter, Choice):
        return trial.suggest_categorical(key, parameter.choices)
    if isinstance(parameter, IntRange):
        return trial.suggest_int(
            key, parameter.low, parameter.high, step=parameter.step, log=parameter.log
        )
    return trial.suggest_float(
        key, parameter.low, parameter.high, step=parameter.step, log=parameter.log
    )


def _check_key(key: str, config: TrainConfig) -> None:
    within = [each for each in _FIXED if f"{key}.".startswith(f"{each}.")]
    searchable = any(f"{key}.".startswith(f"{each}.") for each in _SEARCHABLE_DATA)
    if is_later(key) or (within and not searchable):
        raise ConfigError(
            f"search key space.{key} cannot be searched: the trials would not differ in what "
            "they learn, or could not be compared; accepted are keys of data.decode, model, "
            "augment, loop and seed"
        )
    if any(known.startswith(f"{key}.") for known in flatten(config)):
        raise ConfigError(f"search key space.{key} is a section; name a key below it")


def _probes(parameter: Parameter) -> Iterator[Scalar]:
    """Values that have to be accepted for all of the parameter's to be."""
    if isinstance(parameter, Choice):
        yield from parameter.choices
        return
    yield parameter.low
    yield parameter.high
    # No whole number, where the range is not of whole numbers.
    if isinstance(parameter, FloatRange) and parameter.high > parameter.low:
        yield parameter.low + (parameter.high - parameter.low) / math.pi


def _check_value(key: str, value: Scalar, config: TrainConfig, classes: int) -> None:
    try:
        changed = with_values(config, {key: value})
        if key.startswith("model."):
            model = changed.model
            # Without memory for the weights: only whether the network can be made.
            with torch.device("meta"):
                build(model.architecture, classes, model.options)
    except SightlineError as error:
        raise ConfigError(f"search key space.{key}: {value!r} is not accepted: {error}") from error
    kept: Any = flatten(changed).get(key)
    if isinstance(value, float) and isinstance(kept, int) and kept != value:
        raise ConfigError(f"search key space.{key} is of whole numbers; type: int fits")
