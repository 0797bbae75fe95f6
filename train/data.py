"""Labelled images: found, read once, decoded once."""

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import TypeAdapter, ValidationError

from model.bundle import validation_message
from model.errors import ImageError
from model.image import DecodeRule, decode
from model.manifest import ClassInfo
from train.config import DataConfig
from train.errors import DataError

SUFFIXES = frozenset({".dcm", ".dicom", ".jpg", ".jpeg", ".png"})
_SHOWN = 20

Progress = Callable[[int, int], None]


class Sample(NamedTuple):
    """One labelled image.

    Attributes:
        file: path relative to the data root, POSIX.
        label: index of the class.
        group: the patient (or lesion); all images of a group go to one split.
        mask: path of the lesion mask relative to the root, where there is one.
    """

    file: str
    label: int
    group: str
    mask: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Samples with their decoded pixels.

    Attributes:
        root: folder that the samples' paths are relative to.
        classes: K classes.
        samples: N samples.
        images: uint8 [N, H, W, 3], memory-mapped.
        fingerprint: SHA-256 over paths, contents, labels and groups.
    """

    root: Path
    classes: list[ClassInfo]
    samples: list[Sample]
    images: npt.NDArray[np.uint8]
    fingerprint: str

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return np.array([sample.label for sample in self.samples], dtype=np.int64)


def load_dataset(config: DataConfig, cache: Path, progress: Progress | None = None) -> Dataset:
    """List, check, read and decode the images.

    Args:
        config: where the images are.
        cache: directory for the decoded pixels, reused while files and decode rule are the same.
        progress: told (images done, images in all).

    Raises:
        DataError: names every file, class or row that is wrong.
    """
    if not config.root.is_dir():
        raise DataError(f"data.root is {config.root}; it must be an existing folder")
    classes = load_classes(config)
    samples = list_samples(config, classes)
    hashes = _hash_files(config, samples)
    fingerprint = _fingerprint(samples, hashes, classes)
    images = _decoded(config, samples, hashes, cache, progress)
    return Dataset(config.root, classes, samples, images, fingerprint)


def load_classes(config: DataConfig) -> list[ClassInfo]:
    """The classes of the configuration, or of the YAML file that it names."""
    if isinstance(config.classes, list):
        classes = config.classes
    else:
        file = config.root / config.classes
        try:
            tree = yaml.safe_load(file.read_text(encoding="utf-8"))
            classes = TypeAdapter(list[ClassInfo]).validate_python(tree)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DataError(f"data.classes: {file} is unreadable: {error}") from error
        except ValidationError as error:
            raise DataError(f"data.classes: {file}: {validation_message(error)}") from error
    keys = [info.key for info in classes]
    if len(keys) < 2 or len(set(keys)) != len(keys):
        raise DataError(f"data.classes has the keys {keys}; two or more distinct ones are needed")
    return classes


def list_samples(config: DataConfig, classes: Sequence[ClassInfo]) -> list[Sample]:
    """All samples, in the order of their paths.

    Raises:
        DataError: an unknown label, a class without images, a file that is missing or listed twice.
    """
    index = {info.key: position for position, info in enumerate(classes)}
    if config.csv is None:
        samples = _from_folders(config.root, index)
    else:
        samples = _from_csv(config.root / config.csv, index)
    samples.sort(key=lambda sample: sample.file)
    counts = Counter(sample.file for sample in samples)
    _refuse([file for file, count in counts.items() if count > 1], "listed more than once")
    _refuse([s.file for s in samples if not (config.root / s.file).is_file()], "missing")
    present = {sample.label for sample in samples}
    empty = [key for key, position in index.items() if position not in present]
    if empty:
        raise DataError(f"no images of class {', '.join(empty)} below {config.root}")
    return samples


def _from_folders(root: Path, index: dict[str, int]) -> list[Sample]:
    found = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    unknown = [name for name in found if name not in index and _images_below(root / name)]
    if unknown:
        raise DataError(
            f"folder {root / unknown[0]} holds images, but data.classes has no class of that name; "
            f"classes: {', '.join(index)}"
        )
    return [
        # Without a patient column every image is a group of its own.
        Sample(file.relative_to(root).as_posix(), label, file.relative_to(root).as_posix())
        for key, label in index.items()
        if (root / key).is_dir()
        for file in _images_below(root / key)
    ]


def _images_below(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES]


def _from_csv(table: Path, index: dict[str, int]) -> list[Sample]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            missing = [name for name in ("file", "label") if name not in columns]
            if missing:
                raise DataError(
                    f"{table} lacks column {', '.join(missing)}; it has: {', '.join(columns)}"
                )
            return [
                _row(row, index, f"{table}, line {number}")
                for number, row in enumerate(reader, start=2)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.csv: {table} is unreadable: {error}") from error


def _row(row: dict[str, str], index: dict[str, int], where: str) -> Sample:
    label = (row["label"] or "").strip()
    if label not in index:
        raise DataError(f"{where}: label is {label!r}; accepted: {', '.join(index)}")
    file = (row["file"] or "").strip()
    if not file:
        raise DataError(f"{where}: file is empty")
    return Sample(file, index[label], (row.get("patient") or file).strip(), row.get("mask") or None)


def _hash_files(config: DataConfig, samples: Sequence[Sample]) -> list[str]:
    def digest(sample: Sample) -> str:
        with (config.root / sample.file).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    with ThreadPoolExecutor(_threads(config)) as pool:
        return list(pool.map(digest, samples))


def _fingerprint(
    samples: Sequence[Sample], hashes: Sequence[str], classes: Sequence[ClassInfo]
) -> str:
    rows = [
        [sample.file, digest, classes[sample.label].key, sample.group]
        for sample, digest in zip(samples, hashes, strict=True)
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _decoded(
    config: DataConfig,
    samples: Sequence[Sample],
    hashes: Sequence[str],
    cache: Path,
    progress: Progress | None,
) -> npt.NDArray[np.uint8]:
    key = hashlib.sha256((config.decode.model_dump_json() + "".join(hashes)).encode()).hexdigest()
    file = cache / f"images-{key[:16]}.npy"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        partial = cache / f".{file.name}.{os.getpid()}"
        try:
            _decode_into(partial, config, samples, progress)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    images: npt.NDArray[np.uint8] = np.load(file, mmap_mode="r")
    return images


def _decode_into(
    file: Path, config: DataConfig, samples: Sequence[Sample], progress: Progress | None
) -> None:
    rule = config.decode
    shape = (len(samples), rule.height_px, rule.width_px, 3)
    images = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)

    def one(position: int) -> str | None:
        try:
            images[position] = _read(config.root / samples[position].file, rule)
        except (ImageError, OSError) as error:
            return f"{samples[position].file}: {error}"
        return None

    bad = []
    with ThreadPoolExecutor(_threads(config)) as pool:
        for done, problem in enumerate(pool.map(one, range(len(samples))), start=1):
            if problem:
                bad.append(problem)
            if progress:
                progress(done, len(samples))
    images.flush()
    _refuse(bad, "unreadable")


def _read(file: Path, rule: DecodeRule) -> npt.NDArray[np.uint8]:
    return decode(file.read_bytes(), rule).pixels


def _threads(config: DataConfig) -> int:
    return config.threads or len(os.sched_getaffinity(0))


def _refuse(problems: Sequence[str], what: str) -> None:
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(f"{len(problems)} image files are {what}:{shown}{more}")
