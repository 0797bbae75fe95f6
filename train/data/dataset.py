"""A data set: samples with their decoded pixels, and a fingerprint of all of it."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.cpus import usable_cpus
from model.manifest import ClassInfo
from train.data.cache import DecodedCache, Progress
from train.data.classes import load_classes
from train.data.folder import open_folder
from train.data.patients import grouped_by_patient
from train.data.sample import Sample, listed, refuse
from train.data.sources import list_samples
from train.data_config import DataConfig
from train.errors import DataError

Check = Callable[[Sequence[Sample], Sequence[ClassInfo]], None]


@dataclass(frozen=True)
class Dataset:
    """Samples with their decoded pixels.

    Attributes:
        root: folder on this machine that the samples' paths are relative to.
        classes: K classes.
        samples: N samples.
        hashes: SHA-256 of each sample's file.
        images: uint8 [N, H, W, 3], memory-mapped.
        skipped: reason by file that was left out.
    """

    root: Path
    classes: list[ClassInfo]
    samples: list[Sample]
    hashes: list[str]
    images: npt.NDArray[np.uint8]
    skipped: dict[str, str] = field(default_factory=dict)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        return np.array([sample.label for sample in self.samples], dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over paths, contents, labels and groups."""
        rows = [
            [sample.file, digest, self.classes[sample.label].key, sample.group]
            for sample, digest in zip(self.samples, self.hashes, strict=True)
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


class Listing(NamedTuple):
    """What a data set consists of, before anything is decoded; see :class:`Dataset`."""

    root: Path
    classes: list[ClassInfo]
    samples: list[Sample]
    hashes: list[str]


def read_listing(
    config: DataConfig, fetching: Progress | None = None, check: Check | None = None
) -> Listing:
    """List, check and read the files of a data set; for the arguments see `load_dataset`.

    Raises:
        DataError: names every file, class or row that is wrong.
    """
    folder = open_folder(config)
    classes = load_classes(config, folder)
    samples = list_samples(config, classes, folder)
    files = [sample.file for sample in samples]
    wanted = [*files, *(sample.mask for sample in samples if sample.mask)]
    if config.group_from == "dicom":
        samples = grouped_by_patient(folder.local(wanted, fetching), samples)
    if check:
        check(samples, classes)
    root = folder.local(wanted, fetching)
    return Listing(root, classes, samples, _hash_files(config, root, files))


def load_dataset(
    config: DataConfig,
    cache: Path,
    progress: Progress | None = None,
    fetching: Progress | None = None,
    check: Check | None = None,
) -> Dataset:
    """List, check, read and decode the images.

    Args:
        config: where the images are.
        cache: directory for the decoded pixels, reused while files and decode rule are the same.
        progress: told (images done, images in all).
        fetching: told (files that are here, files in all), where they come from a URL.
        check: raises if what is listed can be of no use, before anything is fetched or decoded.

    Raises:
        DataError: names every file, class or row that is wrong.
    """
    root, classes, samples, hashes = read_listing(config, fetching, check)
    files = [sample.file for sample in samples]
    decoded = DecodedCache(cache, root, files, hashes, config.decode)
    images, bad = decoded.read(_threads(config), progress)
    skipped = {files[position]: reason for position, reason in bad.items()}
    _check_skipped(config, skipped, len(files))
    kept = [position for position in range(len(files)) if position not in bad]
    return Dataset(
        root,
        classes,
        [samples[position] for position in kept],
        [hashes[position] for position in kept],
        images,
        skipped,
    )


def _check_skipped(config: DataConfig, skipped: dict[str, str], count: int) -> None:
    lines = [f"{file}: {reason}" for file, reason in skipped.items()]
    if config.on_bad_image == "fail":
        refuse(lines, "unreadable")
    share = len(lines) / count
    if share > config.max_skipped:
        raise DataError(
            f"{len(lines)} of {count} image files are unreadable, {share:.1%}; data.max_skipped "
            f"allows {config.max_skipped:.1%}:{listed(lines)}"
        )


def _hash_files(config: DataConfig, root: Path, files: Sequence[str]) -> list[str]:
    def digest(file: str) -> tuple[str, str]:
        try:
            with (root / file).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest(), ""
        except OSError as error:
            return "", f"{file}: {error.strerror}"

    with ThreadPoolExecutor(_threads(config)) as pool:
        hashes, problems = zip(*pool.map(digest, files), strict=True)
    refuse([problem for problem in problems if problem], "unreadable")
    return list(hashes)


def _threads(config: DataConfig) -> int:
    return config.threads or usable_cpus()
