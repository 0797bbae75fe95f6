"""Where the data is, how it is read and how it is split, as configured."""

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_serializer, field_validator, model_validator

from model.image import DecodeRule
from model.manifest import ClassInfo
from train.address import Address, address, secret_option, without_secrets
from train.errors import ConfigError
from train.section import Section

LeakageKind = Literal["groups", "exact_duplicates", "near_duplicates", "contradictions"]


class SplitConfig(Section):
    """Shares of the images; a patient is never divided between splits."""

    val: float = Field(default=0.15, gt=0.0, lt=0.5)
    test: float = Field(default=0.15, gt=0.0, lt=0.5)
    file: Path | None = Field(default=None, description="reuse this split file instead of drawing")
    redraw_val: bool = Field(
        default=False,
        description="where the data comes with a split: keep its test part, and draw val anew",
    )
    allow: list[LeakageKind] = Field(default=[], description="leakage that is known and accepted")
    folds: int | None = Field(
        default=None,
        ge=2,
        le=100,
        description="cross-validation: every image is tested in one of so many folds; `file` is "
        "then the file of the folds, drawn and written where it does not exist yet",
    )
    fold: int | None = Field(
        default=None,
        ge=0,
        description="the fold that is tested, from 0; `val` is a share of the others",
    )

    @model_validator(mode="after")
    def _one_of_the_folds(self) -> "SplitConfig":
        if self.fold is not None and self.folds is None:
            raise ValueError(f"fold is {self.fold}, but folds is not set")
        if self.fold is not None and self.folds is not None and self.fold >= self.folds:
            raise ValueError(
                f"fold is {self.fold}; accepted with {self.folds} folds: 0 to {self.folds - 1}"
            )
        return self


class ColumnsConfig(Section):
    """Names of a table's columns; one that is named here has to be there."""

    file: str = Field(default="file", description="path below root, or a name without suffix")
    label: str = "label"
    group: str | None = Field(
        default=None, description="the patient or lesion; `patient` where there is such a column"
    )
    mask: str | None = Field(default=None, description="`mask` where there is such a column")
    split: str | None = Field(
        default=None, description="train, val or test; `split` where there is such a column"
    )
    metadata: list[str] = Field(default=[], description="further columns, for figures by slice")


class DataConfig(Section):
    """Where the images are and how they are read."""

    root: Address = Field(
        description="folder of images: a folder per class, these below train, val and test, or "
        "what `table` lists; a path, or a URL of fsspec such as s3://bucket/folder or "
        "zip::https://host/images.zip"
    )
    storage_options: dict[str, Any] = Field(
        default={},
        description="options of the URL's file system, such as {anon: true}; no secrets, these "
        "belong into the environment",
    )
    cache: Path | None = Field(
        default=None,
        description="where files of a URL are kept between runs; sightline/data below "
        "$XDG_CACHE_HOME or ~/.cache if it is not set",
    )
    table: Address | None = Field(
        default=None, description="CSV or Parquet file: a path below root, or a URL of its own"
    )
    columns: ColumnsConfig = ColumnsConfig()
    group_pattern: str | None = Field(
        default=None,
        description="without a column of groups: a regular expression whose first group is the "
        "patient in the file's name, such as ^(person\\d+)_",
    )
    group_from: Literal["dicom"] | None = Field(
        default=None,
        description="dicom: the PatientID of DICOM files is their group, as a hash keyed by "
        "$SIGHTLINE_PATIENT_KEY; without it no element about the patient is read",
    )
    classes: list[ClassInfo] | Path = Field(
        description="the classes in order, or a YAML file below root that lists them"
    )
    decode: DecodeRule = DecodeRule(width_px=224, height_px=224)
    split: SplitConfig = SplitConfig()
    on_bad_image: Literal["fail", "skip"] = "fail"
    max_skipped: float = Field(
        default=0.01, gt=0.0, lt=1.0, description="largest share of images that may be skipped"
    )
    threads: int = Field(default=0, ge=0, description="decoding threads; 0: one per usable CPU")

    @property
    def address(self) -> str:
        """The root without secrets, for what people read."""
        return without_secrets(self.root)

    @property
    def cache_folder(self) -> Path:
        """Where files of a URL are kept."""
        if self.cache is not None:
            return self.cache
        below = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(below) / "sightline" / "data"

    # Plain, because of JSON every text would fit a path, URLs too, and lose a slash as one.
    @field_validator("root", "table", mode="plain")
    @classmethod
    def _address(cls, value: Any, info: ValidationInfo) -> Address | None:
        if value is None and info.field_name == "table":
            return None
        if isinstance(value, str | Path) and str(value):
            return address(value)
        raise ValueError("a path or a URL is expected")

    @field_serializer("root", "table", when_used="json")
    def _recorded(self, value: Address | None) -> str | None:
        # What is written down must open nothing to those who read it.
        return None if value is None else without_secrets(value)

    @field_validator("storage_options")
    @classmethod
    def _no_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        name = secret_option(options)
        if name is not None:
            # pydantic's error would quote the value.
            raise ConfigError(
                f"config field data.storage_options.{name} is a secret, and every run records its "
                "configuration; the file systems of fsspec take their credentials from the "
                "environment (AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, ...)"
            )
        return options

    @field_validator("group_pattern")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        try:
            if pattern is not None and re.compile(pattern).groups < 1:
                raise ValueError("it has no group; put the patient's part in parentheses")
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from error
        return pattern
