"""Weights that a training begins with: where they come from."""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import mlflow
import torch
from mlflow.exceptions import MlflowException
from torch import Tensor
from torchvision.models import get_model_weights

from train.checkpoint import BEST
from train.config import TrackingConfig
from train.errors import ConfigError, TrackingError
from train.recipe import ModelConfig
from train.tracking.mlflow import connect, tracking_uri

_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[0-9]+)|@(?P<alias>[^/@]+))")
# Tag of a registered version: the run that has released it.
RELEASING_RUN = "run"
_SUFFIXES = (".pt", ".pth")


@dataclass(frozen=True)
class Weights:
    """A state as it was found.

    Attributes:
        source: what was asked for, and the file it came from.
        sha256: of that file.
        state: tensors by the names in the file.
    """

    source: str
    sha256: str
    state: dict[str, Tensor]


def find_weights(model: ModelConfig, tracking: TrackingConfig) -> Weights | None:
    """Read what `model.weights` names; None where training begins at random.

    Raises:
        ConfigError: it is not there, cannot be fetched, or holds no weights.
        TrackingError: MLflow cannot be used.
    """
    if model.weights == "none":
        return None
    with _located(model, tracking) as file:
        state = _read(file, model.weights)
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Weights(f"{model.weights} ({file.name})", digest, state)


@contextmanager
def _located(model: ModelConfig, tracking: TrackingConfig) -> Iterator[Path]:
    if model.weights == "imagenet":
        yield _published(model.architecture)
    elif model.weights.startswith(("models:/", "runs:/")):
        with tempfile.TemporaryDirectory(prefix="sightline-") as directory:
            yield _download(model.weights, tracking, directory)
    else:
        file = Path(model.weights)
        if not file.is_file():
            raise ConfigError(
                f"model.weights is {model.weights!r}, and there is no such file; accepted: none, "
                "imagenet, a file, models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/PATH"
            )
        yield file


def _published(architecture: str) -> Path:
    """Torchvision's file, from torch's cache or the network."""
    address: str = get_model_weights(architecture).DEFAULT.url
    name = address.rpartition("/")[2]
    directory = Path(torch.hub.get_dir()) / "checkpoints"
    file = directory / name
    if not file.is_file():
        # Published names end in the beginning of their digest.
        digest = name.rpartition("-")[2].partition(".")[0]
        try:
            directory.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(address, str(file), digest, progress=False)
        except (OSError, HTTPException, RuntimeError) as error:
            raise ConfigError(
                f"model.weights is 'imagenet', and {name} cannot be fetched from {address}: "
                f"{error}. Where there is no network, bring the file from that address to "
                f"{directory} ($TORCH_HOME moves it), or set model.weights to where it lies"
            ) from error
    return file


def _download(address: str, tracking: TrackingConfig, directory: str) -> Path:
    """The file with weights that an address of MLflow stands for."""
    client, uri = connect(tracking), tracking_uri(tracking)

    def fetched(source: str | None) -> Path:
        return Path(
            mlflow.artifacts.download_artifacts(
                artifact_uri=source, dst_path=directory, tracking_uri=uri
            )
        )

    try:
        if address.startswith("runs:/"):
            return _file_in(fetched(address), address)
        match = _REGISTERED.fullmatch(address)
        if match is None:
            raise ConfigError(
                f"model.weights is {address!r}; accepted of a registry: models:/NAME@ALIAS, "
                "models:/NAME/VERSION with a number"
            )
        name, alias = match["name"], match["alias"]
        version = (
            client.get_model_version_by_alias(name, alias)
            if alias
            else client.get_model_version(name, match["version"])
        )
        # The graphs of a bundle are frozen: their weights have no names any more. The run that has
        # released it has its checkpoint.
        if run_id := version.tags.get(RELEASING_RUN):
            return fetched(f"runs:/{run_id}/{BEST}")
        return _file_in(fetched(version.source), address)
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"model.weights is {address!r}, which MLflow at {uri} does not give: {error}"
        ) from error


def _file_in(path: Path, address: str) -> Path:
    """The one checkpoint in what was downloaded."""
    if path.is_file():
        return path
    files = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)
    best = [file for file in files if file.name == BEST]
    for found in (best, files):
        if len(found) == 1:
            return found[0]
    names = ", ".join(file.name for file in files) or "no weights"
    raise ConfigError(
        f"model.weights is {address!r}, which has {names}; accepted in it: one {BEST}, or one file "
        f"*{' or *'.join(_SUFFIXES)}"
    )


def _read(file: Path, source: str) -> dict[str, Tensor]:
    """The tensors of a file, read without unpickling anything else."""
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(
            f"model.weights is {source!r}, but {file.name} is no file of weights that torch reads "
            f"without running code: {str(error).partition(chr(10))[0]}"
        ) from error
    # A checkpoint of ours, of timm or of Lightning has the weights under a key of their own.
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = (
        {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not tensors:
        raise ConfigError(f"model.weights is {source!r}, but {file.name} holds no tensors by name")
    return tensors
