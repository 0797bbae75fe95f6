"""A phantom on disk: written aside by several processes, then moved into place."""

import csv
import json
import multiprocessing
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

from tqdm import tqdm

from model.cpus import usable_cpus
from train.phantom.config import CLASSES, Balance, PhantomConfig
from train.phantom.patient import Patient, Record, plan_patients, write_patient

__all__ = [
    "CLASSES",
    "Balance",
    "PhantomConfig",
    "PhantomSummary",
    "Progress",
    "generate",
]

# Raise when the same configuration no longer gives the same bytes.
GENERATOR_VERSION = 2
_RECORD_FILE = "phantom.json"
# Below this a pool costs more than it saves.
_MIN_PATIENTS_PER_POOL = 24

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PhantomSummary:
    """What is in the directory, and whether it was there already."""

    directory: Path
    images: int
    patients: int
    images_per_class: dict[str, int]
    duration_s: float
    reused: bool


def generate(
    directory: Path, config: PhantomConfig, progress: Progress | None = None
) -> PhantomSummary:
    """Write the phantom of `config` to `directory`, or reuse it if it is already there.

    Layout: `images/<label>/<patient>-<n>.jpg|png`, `masks/<label>/<patient>-<n>.png` (as large as
    the image, 255 inside the finding), `labels.csv` (the fields of a `Record`), `classes.yaml` and
    `phantom.json`. A directory appears complete or not at all.

    Args:
        directory: new or empty, or the identical phantom.
        config: what to draw.
        progress: told (images done, images in all); without it a bar is drawn on terminals.

    Raises:
        FileExistsError: `directory` holds anything but this very phantom.
    """
    start = time.monotonic()
    reused = _holds(directory, config)
    if not reused:
        with _moved_into_place(directory) as aside:
            _write(aside, config, progress)
    with (directory / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return PhantomSummary(
        directory=directory,
        images=len(rows),
        patients=len({row["patient"] for row in rows}),
        images_per_class=dict(Counter(row["label"] for row in rows)),
        duration_s=time.monotonic() - start,
        reused=reused,
    )


def _holds(directory: Path, config: PhantomConfig) -> bool:
    """Whether `directory` is this phantom; False if it is free to write to."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    remedy = (
        "accepted: a new or empty directory, or one with the identical phantom; "
        "remove it or choose another"
    )
    record = directory / _RECORD_FILE
    if not record.is_file():
        raise FileExistsError(
            f"directory is {directory}, which is not empty and not a phantom; {remedy}"
        )
    try:
        held = json.loads(record.read_text())
    except ValueError as error:
        raise FileExistsError(
            f"directory is {directory}, whose {_RECORD_FILE} is not JSON; {remedy}"
        ) from error
    if held != _identity(config):
        raise FileExistsError(
            f"directory is {directory}, which holds a phantom of another configuration; {remedy}"
        )
    with (directory / "labels.csv").open(newline="") as file:
        paths = [
            path for row in csv.DictReader(file) for path in (row["file"], row["mask"]) if path
        ]
    missing = [path for path in paths if not (directory / path).is_file()]
    if missing:
        raise FileExistsError(
            f"directory is {directory}, a phantom that lacks {len(missing)} files, "
            f"first {missing[0]}; {remedy}"
        )
    return True


def _identity(config: PhantomConfig) -> dict[str, object]:
    return {"generator_version": GENERATOR_VERSION, "config": config.identity()}


@contextmanager
def _moved_into_place(directory: Path) -> Iterator[Path]:
    """A sibling to write to, which becomes `directory` if all goes well and vanishes if not."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    aside = directory.parent / f".{directory.name}.{secrets.token_hex(4)}.partial"
    aside.mkdir()
    try:
        yield aside
        # Replaces an empty directory, and fails if someone has filled it meanwhile.
        aside.rename(directory)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _write(directory: Path, config: PhantomConfig, progress: Progress | None) -> None:
    for entry in CLASSES:
        (directory / "images" / entry.key).mkdir(parents=True)
        if entry.severity != "none":
            (directory / "masks" / entry.key).mkdir(parents=True)
    patients = plan_patients(config)
    records: list[Record] = []
    with tqdm(
        total=config.images, unit="image", desc="phantom", disable=True if progress else None
    ) as bar:
        for written in _draw(directory, patients, config):
            records += written
            bar.update(len(written))
            if progress:
                progress(len(records), config.images)
    with (directory / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(field.name for field in fields(Record))
        rows.writerows(astuple(record) for record in records)
    (directory / "classes.yaml").write_text(_classes_yaml())
    (directory / _RECORD_FILE).write_text(json.dumps(_identity(config), indent=2) + "\n")


def _draw(
    directory: Path, patients: list[Patient], config: PhantomConfig
) -> Iterator[list[Record]]:
    """The records of every patient, in order."""
    draw = partial(write_patient, directory, config=config)
    processes = min(config.processes or usable_cpus(), len(patients))
    if processes == 1 or (config.processes is None and len(patients) < _MIN_PATIENTS_PER_POOL):
        yield from map(draw, patients)
        return
    # Spawned, not forked: the caller may have threads (torch, a web server).
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(draw, patients, chunksize=4)


def _classes_yaml() -> str:
    # A JSON string is a YAML string.
    return "".join(
        f"- key: {c.key}\n  name: {json.dumps(c.name)}\n"
        f"  description: {json.dumps(c.description)}\n  severity: {c.severity}\n"
        for c in CLASSES
    )
