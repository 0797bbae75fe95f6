"""A small data set that can be learnt in seconds, and a run that has gone all the way on it."""

import csv
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from train.bundling import run_export
from train.config import TrackingConfig, TrainConfig
from train.console import Console
from train.evaluation import run_evaluate
from train.run import Run
from train.tracking.mlflow import connect
from train.training import run_fit

CLASSES = [
    {"key": "plain", "name": "Plain", "description": "Nothing there", "severity": "none"},
    {"key": "disc", "name": "Disc", "description": "A round spot", "severity": "low"},
    {"key": "bars", "name": "Bars", "description": "A striped patch", "severity": "high"},
]
PATIENTS = 12
IMAGES_EACH = 2


def picture(label: str, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """A noisy grey square with a disc, with bars, or with neither, and the mask of it."""
    size = 80
    y, x = np.mgrid[:size, :size]
    grey = 90 + 40 * rng.random() + 12 * rng.standard_normal((size, size))
    row, column = rng.integers(25, 55, 2)
    mask = (y - row) ** 2 + (x - column) ** 2 < 14**2
    if label == "disc":
        grey = grey + 70 * mask
    elif label == "bars":
        grey = grey + 110 * (mask & (x // 4 % 2 == 0))
    pixels = np.clip(grey, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels), Image.fromarray(mask.astype(np.uint8) * 255)


def write_shapes(root: Path) -> Path:
    """Write the data set as folder per class with a CSV of patients and masks."""
    rng = np.random.default_rng(0)
    rows = []
    for info in CLASSES:
        label = info["key"]
        (root / label).mkdir(parents=True)
        for patient in range(PATIENTS):
            for number in range(IMAGES_EACH):
                image, mask = picture(label, rng)
                file = f"{label}/{patient:02d}-{number}.{'png' if number else 'jpg'}"
                image.save(root / file)
                name = ""
                if label != "plain":
                    name = f"{label}/{patient:02d}-{number}.mask"
                    buffer = io.BytesIO()
                    mask.save(buffer, "PNG")
                    (root / name).write_bytes(buffer.getvalue())
                rows.append([file, label, f"{label}-{patient:02d}", name])
    with (root / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", "patient", "mask"])
        writer.writerows(rows)
    return root


def shapes_tree(root: Path, output: Path) -> dict[str, Any]:
    """A configuration for the shapes, as the tree that a YAML file would give."""
    return {
        "name": "shapes",
        "output": str(output),
        "seed": 1,
        "data": {
            "root": str(root),
            "table": "labels.csv",
            "classes": CLASSES,
            "decode": {"width_px": 64, "height_px": 64},
        },
        "model": {"architecture": "baseline", "options": {"depth": 2, "width": 8}},
        "loop": {"epochs": 14, "batch_size": 4, "learning_rate": 0.004},
        "export": {"calibration_images": 16, "reference_images": 3},
        "release": {"min_macro_f1": 0.0},
        "tracking": {"uri": f"sqlite:///{output.parent / 'mlflow.db'}"},
    }


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow without runs, to copy: to create one takes seconds."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(TrackingConfig(uri=f"sqlite:///{file}"))
    return file


@pytest.fixture(scope="session")
def fit_and_die() -> Iterator[Callable[[Path, str], int]]:
    """Runs `fit` in a process of its own up to a point; see `fit_and_die.py`."""
    worker = Path(__file__).parent / "fit_and_die.py"
    with subprocess.Popen(
        [sys.executable, "-m", f"tests.train.{worker.stem}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=worker.parents[2],
        # As `python -m train` sets it before torch is loaded.
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
    ) as process:

        def run(config: Path, point: str) -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            print(config, point, file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield run


@pytest.fixture(scope="session")
def exported(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has been trained, evaluated and exported."""
    output = tmp_path_factory.mktemp("exported") / "run"
    config = TrainConfig.model_validate(shapes_tree(shapes, output))
    run = Run(config, Console(io.StringIO()))
    run_fit(run)
    run_evaluate(run)
    run_export(run)
    return run
