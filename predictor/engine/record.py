"""An earlier choice of the engine, kept for the next start on the same kind of machine.

A record is trusted in one point only: what was fastest. The engine that it names has to pass the
self-test like any other.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.manifest import Precision
from predictor.engine.base import Device
from predictor.engine.gpu import gpu_models

LOGGER = logging.getLogger("sightline.engine")

_CPU_FACTS = ("vendor_id", "model name", "cpu family", "model", "flags", "Features", "CPU part")


class Row(BaseModel):
    """One line of the table: an engine with an artefact, and how it fared.

    Attributes:
        milliseconds: time of a batch, by its size; empty if it was not measured.
        score: images per second of the expected load.
        fastest: whether it has won its last race.
        differences: from the reference answers, by output; see `predictor.engine.selftest`.
        refused: why it may not serve.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: str
    precision: Precision
    device: Device
    milliseconds: dict[int, float] = {}
    score: float | None = None
    fastest: bool = False
    differences: dict[str, float] = {}
    refused: str | None = None

    def __str__(self) -> str:
        return f"{self.engine}/{self.precision} on {self.device}: {self.refused or 'eligible'}"


class Record(BaseModel):
    """A choice and what it rests on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: dict[str, Any]
    chosen: int = Field(ge=0, description="index of the row")
    rows: list[Row] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Record":
        if self.chosen >= len(self.rows):
            raise ValueError(f"chosen is {self.chosen}; there are {len(self.rows)} rows")
        return self

    @property
    def sizes(self) -> set[int]:
        """Batch sizes that the chosen engine was timed at."""
        return set(self.rows[self.chosen].milliseconds)


def machine() -> dict[str, Any]:
    """What a choice depends on besides its settings: the processors."""
    facts = {"arch": platform.machine()}
    with contextlib.suppress(OSError):
        # Of the first processor; the others are alike.
        for line in Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines():
            name, _, value = line.partition(":")
            if name.strip() in _CPU_FACTS:
                facts[name.strip()] = value.strip()
    return {"cpu": facts, "gpus": gpu_models()}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def cache_directory(setting: str | None, bundle: Path | None) -> Path | None:
    """Where something can be kept for the next start, or None if nowhere.

    Args:
        setting: the directory that was asked for; may not exist yet.
        bundle: directory of the bundle, which is used if nothing was asked for; None if it goes
            with this process.
    """
    if setting:
        directory = Path(setting)
    elif bundle is not None:
        directory = bundle / ".cache"
    else:
        _nothing_kept(logging.INFO, "the bundle is downloaded at every start; give --cache_dir")
        return None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        level = logging.WARNING if setting else logging.INFO
        _nothing_kept(level, error.strerror or type(error).__name__)
        return None
    return directory


def _nothing_kept(level: int, reason: str) -> None:
    LOGGER.log(level, "nothing is kept for the next start", extra={"data": {"reason": reason}})


def record_file(directory: Path, key: dict[str, Any]) -> Path:
    """Where a choice is kept: each key has a file, for a volume may serve unlike machines."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return directory / f"engine-{digest[:16]}.json"


def read_record(directory: Path, key: dict[str, Any]) -> Record | None:
    """The choice for this key, or None if there is none that can be read."""
    try:
        record = Record.model_validate_json(record_file(directory, key).read_bytes())
    except (OSError, ValidationError):
        return None
    return record if record.key == key else None


def write_record(directory: Path, record: Record) -> None:
    """Keep a choice; the file is there whole or not at all.

    Raises:
        OSError: it cannot be written there.
    """
    file = record_file(directory, record.key)
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=directory)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(record.model_dump_json(indent=1) + "\n")
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
