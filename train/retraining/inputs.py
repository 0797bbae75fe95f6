"""What a model is made of, as digests: whether a retraining would make another one."""

import hashlib
import json
from pathlib import Path

import model
import train
from model.manifest import ClassInfo
from train.config import TrainConfig, flatten
from train.data.dataset import Listing, read_listing
from train.provenance import package_versions
from train.section import Section

# Where and how often, not what.
_PLACES = (
    "output",
    "data.root",
    "data.storage_options",
    "data.cache",
    "data.threads",
    "data.classes",
    "loop.resume",
    "loop.checkpoint_minutes",
    "tracking",
)
_MACHINE = ("system", "cuda", "cudnn", "nccl")


class Inputs(Section):
    """Three SHA-256 digests.

    Attributes:
        data: the images, their labels and groups, and the classes.
        config: every setting that is not of a place.
        code: the sources of `model` and `train`, and the versions of the libraries.
    """

    data: str
    config: str
    code: str

    @classmethod
    def of(cls, config: TrainConfig) -> "Inputs":
        """Read everything that a model would be made of; nothing is decoded.

        Raises:
            DataError: the images or the classes cannot be read.
        """
        listing = read_listing(config.data)
        return cls(
            data=_digest([_rows(listing), [_class(info) for info in listing.classes]]),
            config=_digest(_settings(config)),
            code=_digest([_sources(), _libraries()]),
        )

    def changed_from(self, earlier: "Inputs") -> list[str]:
        """Which of them differ."""
        return [name for name, value in self if value != getattr(earlier, name)]


def _rows(listing: Listing) -> list[list[str | None]]:
    return [
        [sample.file, digest, listing.classes[sample.label].key, sample.group, sample.part]
        for sample, digest in zip(listing.samples, listing.hashes, strict=True)
    ]


def _class(info: ClassInfo) -> object:
    return info.model_dump(mode="json")


def _settings(config: TrainConfig) -> dict[str, object]:
    settings = flatten(config)
    kept = {
        key: value
        for key, value in settings.items()
        if not any(f"{key}.".startswith(f"{place}.") for place in _PLACES)
    }
    # A file, of a split or of weights, counts by what is in it.
    for key, value in kept.items():
        if isinstance(value, str) and "/" in value and Path(value).is_file():
            kept[key] = hashlib.sha256(Path(value).read_bytes()).hexdigest()
    return kept


def _sources() -> list[list[str]]:
    return [
        [file.relative_to(folder.parent).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()]
        for folder in (Path(model.__path__[0]), Path(train.__path__[0]))
        for file in sorted(folder.rglob("*.py"))
    ]


def _libraries() -> dict[str, str]:
    # The machine may be another one each night.
    return {k: v for k, v in package_versions().items() if k not in _MACHINE}


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
