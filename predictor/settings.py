"""Settings: command-line flag, else environment variable, else default."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.cpus import usable_cpus
from model.image import DEFAULT_LIMITS, ImageLimits
from predictor.engine import ENGINES
from predictor.engine.race import ExpectedLoad
from predictor.errors import StartError

ENVIRONMENT_PREFIX = "SIGHTLINE_"
KSERVE_MOUNT = Path("/mnt/models")
MIB = 1024 * 1024


class Settings(BaseModel):
    """Everything that can be set; each field is a flag and a variable of the same name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: str | None = Field(
        default=None,
        description="directory of a bundle, or models:/NAME/VERSION or models:/NAME@ALIAS of an "
        f"MLflow registry; {KSERVE_MOUNT} if that exists and nothing is said",
    )
    model_name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$",
        description="name in the addresses; the manifest's if nothing is said",
    )
    model_version: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$",
        description="version stated in answers; the registry's, else the start of the bundle's "
        "digest, if nothing is said",
    )
    engine: str = Field(default="auto", description=f"auto, {', '.join(ENGINES)}")
    precision: Literal["auto", "fp32", "int8"] = Field(
        default="auto", description="which artefact of the bundle: auto, fp32, int8"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where the engine runs: auto, cpu, cuda"
    )
    expected_load: ExpectedLoad = Field(
        default="balanced",
        description="what the engine is chosen for: latency (one image at a time), throughput "
        "(full batches), balanced",
    )
    cache_dir: str | None = Field(
        default=None,
        description="directory that keeps the choice of the engine for the next start; .cache in "
        "the bundle, where that is writable and not downloaded, if nothing is said",
    )
    max_batch_size: int = Field(default=8, ge=1, le=256, description="most images given at once")
    max_queue: int = Field(
        default=128, ge=1, le=100_000, description="most images being worked on and waiting"
    )
    max_images: int | None = Field(
        default=None,
        ge=1,
        description="most images of one request; 64, or max_queue if that is less",
    )
    timeout_s: float = Field(
        default=30.0, gt=0, le=3600, description="seconds after which a request is given up"
    )
    max_body_bytes: int = Field(
        default=32 * MIB,
        ge=1024,
        le=1024 * MIB,
        description="most bytes of a request and of an image",
    )
    max_upload_bytes: int | None = Field(
        default=None,
        ge=1024,
        description="most bytes that the bodies of all requests hold at once; 8 times "
        "max_body_bytes if nothing is said",
    )
    max_requests: int = Field(
        default=1024, ge=1, le=100_000, description="most requests being read and worked on"
    )
    max_connections: int = Field(
        default=2048, ge=2, le=1_000_000, description="most open HTTP connections"
    )
    client_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="seconds that a client may take for the head of a request, and pause within "
        "its body or within taking the answer",
    )
    drain_grace_s: float = Field(
        default=5.0,
        ge=0,
        le=600,
        description="seconds after SIGTERM in which new requests are still answered, while "
        "readiness is false already",
    )
    max_pixels: int = Field(
        default=DEFAULT_LIMITS.max_pixels, ge=64, description="most pixels of one image"
    )
    answer_cache_bytes: int = Field(
        default=0,
        ge=0,
        le=1024 * 1024 * MIB,
        description="most bytes of answers kept for images that come again; 0 keeps none",
    )
    decode_threads: int | None = Field(
        default=None, ge=1, le=256, description="threads that decode; the usable CPUs if not said"
    )
    engine_threads: int | None = Field(
        default=None, ge=1, le=256, description="threads of the engine; the usable CPUs if not said"
    )
    page: bool = Field(
        default=True, description="true or false: whether a browser gets a page at /"
    )
    token_file: str | None = Field(
        default=None,
        description="file of the tokens, one a line, that open inference and metadata through "
        "the header Authorization: Bearer; nobody is asked if nothing is said",
    )
    request_log: str | None = Field(
        default=None,
        description="file of JSON lines with hash and answer of every image; none if nothing is "
        "said",
    )
    request_log_max_bytes: int = Field(
        default=64 * MIB, ge=4096, description="size at which the request log is rotated"
    )
    request_log_files: int = Field(
        default=4,
        ge=1,
        le=1000,
        description="most files of the request log, the current among them",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning, error"
    )
    log_format: Literal["json", "text"] = Field(default="json", description="json, text")

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if self.engine not in ("auto", *ENGINES):
            raise ValueError(f"engine is {self.engine!r}; accepted: auto, {', '.join(ENGINES)}")
        if self.max_images is not None and self.max_images > self.max_queue:
            raise ValueError(
                f"max_images is {self.max_images}, more than max_queue, {self.max_queue}: "
                "such a request could never be admitted"
            )
        if self.upload_bytes < self.max_body_bytes:
            raise ValueError(
                f"max_upload_bytes is {self.upload_bytes}, less than max_body_bytes, "
                f"{self.max_body_bytes}: such a request could never be read"
            )
        return self

    @property
    def images_per_request(self) -> int:
        return min(64, self.max_queue) if self.max_images is None else self.max_images

    @property
    def upload_bytes(self) -> int:
        return self.max_upload_bytes or 8 * self.max_body_bytes

    @property
    def decoders(self) -> int:
        return self.decode_threads or usable_cpus()

    @property
    def engine_cpus(self) -> int:
        return self.engine_threads or usable_cpus()

    @property
    def limits(self) -> ImageLimits:
        return ImageLimits(max_bytes=self.max_body_bytes, max_pixels=self.max_pixels)

    def address(self, mount: Path = KSERVE_MOUNT) -> str:
        """Where the bundle is.

        Raises:
            StartError: nothing was said, and KServe has mounted nothing.
        """
        if self.bundle:
            return self.bundle
        if mount.is_dir():
            return str(mount)
        raise StartError(
            f"no bundle: give --bundle (or {ENVIRONMENT_PREFIX}BUNDLE) a directory or a models:/ "
            f"address; without it the bundle is expected in {mount}, which does not exist"
        )


ALL = tuple(Settings.model_fields)


def add_arguments(
    parser: argparse.ArgumentParser,
    names: Sequence[str] = ALL,
    defaults: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Add a flag for every setting that the parser does not have yet.

    Args:
        parser: what to add them to.
        names: of the settings that matter to the program.
        defaults: of the program, where they are not those of the settings.
    """
    group = parser.add_argument_group("Sightline")
    # KServe's own flag says "model" where nothing is said; the manifest knows better.
    parser.set_defaults(model_name=None)
    for name, field in Settings.model_fields.items():
        if name in names and name != "model_name":
            value = defaults.get(name, field.default)
            default = "" if value is None else f" (default: {value})"
            group.add_argument(
                f"--{name}",
                metavar="",
                default=None,
                help=f"{field.description}{default}; {ENVIRONMENT_PREFIX}{name.upper()}",
            )


def read_settings(
    arguments: argparse.Namespace,
    environment: Mapping[str, str],
    names: Sequence[str] = ALL,
    defaults: Mapping[str, object] = MappingProxyType({}),
) -> Settings:
    """Put flags and environment together; names and defaults are those of `add_arguments`.

    Raises:
        StartError: a value is wrong; names it and what is accepted.
    """
    values: dict[str, Any] = dict(defaults)
    for name in names:
        flag = getattr(arguments, name, None)
        variable = environment.get(ENVIRONMENT_PREFIX + name.upper(), "")
        if flag is not None:
            values[name] = flag
        elif variable:
            values[name] = variable
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise StartError(_message(error, arguments)) from None


def _message(error: ValidationError, arguments: argparse.Namespace) -> str:
    first = error.errors(include_url=False)[0]
    names: Sequence[Any] = first["loc"]
    if not names:
        return str(first["msg"]).removeprefix("Value error, ")
    name = str(names[0])
    by_flag = getattr(arguments, name, None) is not None
    label = f"--{name}" if by_flag else ENVIRONMENT_PREFIX + name.upper()
    accepted = str(first["msg"]).removeprefix("Input should be ")
    return f"{label} is {first['input']!r}; accepted: {accepted}"
