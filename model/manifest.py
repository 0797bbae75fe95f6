"""The manifest of a bundle: everything a server must know that is not in the graph."""

import re
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from model.decision import RiskPolicy, Severity
from model.image import DecodeRule

GRAPH_TORCHSCRIPT = "model.ts"
GRAPH_ONNX = "model.onnx"
GRAPH_INT8 = "model.int8.onnx"
REFERENCE = "reference.npz"

Precision = Literal["fp32", "int8"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassInfo(_Part):
    """One class, as the page and the report show it."""

    key: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    name: str = Field(min_length=1, max_length=80)
    description: str = Field(min_length=1, max_length=300)
    severity: Severity


class FileEntry(_Part):
    """Size and checksum of one file of the bundle."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class Architecture(_Part):
    """Which network it is, and where its explanation is taken."""

    name: str
    options: dict[str, Any] = {}
    explained_layer: str
    cam_height: int = Field(ge=1)
    cam_width: int = Field(ge=1)


class Difference(_Part):
    """Largest difference of an artefact from the eager FP32 network, on real images."""

    probabilities: float = Field(ge=0, description="absolute")
    cam: float = Field(ge=0, description="relative to the largest value of the image's maps")


class Tolerance(_Part):
    """How far an engine may be from the reference answers and still serve."""

    probabilities: float = Field(gt=0, description="absolute")
    cam: float = Field(gt=0, description="relative to the largest value of the image's maps")


class Quantisation(_Part):
    """The verdict of the INT8 gate, and its figures on the machine that exported."""

    shipped: bool
    reason: str
    macro_f1_fp32: float | None = None
    macro_f1_int8: float | None = None
    speed_over_fp32: float | None = Field(
        default=None, description="images per second of INT8 over FP32 on the exporting machine"
    )
    difference: Difference | None = None


class ClassMetrics(_Part):
    """Figures of one class on the test split; AUROC is absent where only one side occurs."""

    precision: float
    recall: float
    f1: float
    auroc: float | None
    support: int


class Metrics(_Part):
    """Figures of the FP32 network on the untouched test split."""

    accuracy: float
    macro_f1: float
    ece: float = Field(description="expected calibration error, 15 bins of equal width")
    ece_uncalibrated: float
    per_class: dict[str, ClassMetrics]
    confusion: list[list[int]] = Field(description="rows: true class, columns: predicted")
    images: int


class Machine(_Part):
    """What a model was trained on: the machine of the first process, and everybody's GPUs."""

    cpu: str
    cores: int = Field(ge=1, description="that the process was allowed to use")
    threads: int = Field(ge=1, description="that computed in each process")
    memory_bytes: int = Field(ge=0, description="of the machine, or the limit of the container")
    gpus: list[str] = Field(description="one for each process that had one")
    gpu_memory_bytes: int | None
    processes: int = Field(ge=1)
    machines: int = Field(ge=1)


class Provenance(_Part):
    """Where the model comes from."""

    git_commit: str | None
    git_dirty: bool | None
    config_sha256: str
    data_fingerprint: str
    split_sha256: str
    seed: int
    versions: dict[str, str]
    hardware: str = Field(description="`machine` in a line")
    machine: Machine | None = Field(
        default=None, description="None in bundles before there was one"
    )
    trained_seconds: float
    epochs: int


class Manifest(_Part):
    """`manifest.json`. A file of another schema version is refused, never guessed at."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")
    created: datetime
    classes: list[ClassInfo] = Field(min_length=2)
    decode: DecodeRule
    architecture: Architecture
    temperature: float = Field(gt=0)
    risk: RiskPolicy = RiskPolicy()
    tolerance: dict[Precision, Tolerance]
    parity: dict[str, Difference]
    quantisation: Quantisation
    metrics: Metrics
    provenance: Provenance
    files: dict[str, FileEntry]

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: list[ClassInfo]) -> list[ClassInfo]:
        keys = [info.key for info in classes]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"class key {twice[0]!r} occurs more than once")
        return classes

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not re.fullmatch(r"[\w./ -]+", name):
                raise ValueError(f"file name {name!r} does not lie inside the bundle")
        return files

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        needed = [GRAPH_ONNX, GRAPH_TORCHSCRIPT, REFERENCE]
        if self.quantisation.shipped:
            needed.append(GRAPH_INT8)
        for name in needed:
            if name not in self.files:
                raise ValueError(f"files lacks {name!r}")
        if not self.quantisation.shipped and GRAPH_INT8 in self.files:
            raise ValueError(f"files has {GRAPH_INT8!r}, but quantisation.shipped is false")
        for precision in ("fp32", "int8") if self.quantisation.shipped else ("fp32",):
            if precision not in self.tolerance:
                raise ValueError(f"tolerance lacks {precision!r}")
        return self

    @property
    def class_keys(self) -> list[str]:
        return [info.key for info in self.classes]
