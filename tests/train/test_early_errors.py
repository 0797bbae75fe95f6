"""The usual mistakes, each told at the earliest moment.

What settings and labels show is told before an image is read, what pixels show before training.
"""

import csv
import io
import logging
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.model.dicoms import dicom
from train.__main__ import main
from train.data import load_dataset
from train.data.patients import KEY_VARIABLE
from train.data_config import DataConfig
from train.errors import DataError

from .conftest import CLASSES, shapes_tree

Row = dict[str, str]


@pytest.fixture
def root(shapes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shapes, tmp_path / "shapes"))


@pytest.fixture
def tree(root: Path, tmp_path: Path) -> dict[str, Any]:
    tree = shapes_tree(root, tmp_path / "run")
    tree["loop"]["epochs"] = 1
    tree["tracking"] = {"tracker": "none"}
    return tree


def fit(tree: dict[str, Any], tmp_path: Path, *overrides: str) -> int:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(tree))
    return main(["fit", "--config", str(file), *overrides])


def change(root: Path, each: Callable[[Row], Row | None]) -> None:
    """Rewrite the table row by row; None leaves the row out."""
    with (root / "labels.csv").open(newline="") as stream:
        rows = [row for row in map(each, csv.DictReader(stream)) if row is not None]
    with (root / "labels.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def one_group(row: Row) -> Row:
    return row | {"patient": "the same"} if row["label"] == "disc" else row


def one_image(row: Row) -> Row | None:
    return row if row["label"] != "disc" or row["file"] == "disc/00-0.jpg" else None


def split_without(part: str) -> Callable[[Row], Row]:
    def given(row: Row) -> Row:
        number = int(row["patient"].split("-")[1])
        found = ("train", "train", "val", "test")[number % 4]
        return row | {"split": "train" if (row["label"], found) == ("disc", part) else found}

    return given


def divided(row: Row) -> Row:
    given = split_without("")(row)
    return given | {"split": "test"} if row["file"] == "disc/00-0.jpg" else given


@pytest.mark.parametrize(
    ("each", "message"),
    [
        (one_group, r"class disc has images of 1 patient\(s\), 24 image\(s\) .* least 3 patients"),
        (one_image, r"class disc has images of 1 patient\(s\), 1 image\(s\) .* least 3 patients"),
        (lambda row: None if row["label"] == "disc" else row, r"no images of class disc below"),
        (lambda row: row | {"label": row["label"].upper()}, r"line 2: label is 'PLAIN'; accepted"),
        (split_without("test"), r"split: test has no image of class disc"),
        (split_without("val"), r"split: val has no image of class disc"),
        (divided, r"data\.split: 1 groups:\n  disc-00: test, train"),
    ],
)
def test_what_labels_and_groups_show_is_told_before_an_image_is_read(
    tree: dict[str, Any], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    each: Callable[[Row], Row | None], message: str,
) -> None:  # fmt: skip
    change(root, each)
    # None of these is an image: to be told of the label, they must not have been read.
    for file in root.glob("*/*.png"):
        file.write_bytes(b"no image")
    assert fit(tree, tmp_path) == 2
    said = capsys.readouterr().err
    assert re.search(f"^error: .*{message}", said, re.MULTILINE)
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("data.group_form=dicom", r"data\.group_form is unknown; did you mean data\.group_from\?"),
        ("data.group_from=name", r"data\.group_from is 'name'.*'dicom'"),
        ("data.split.file=nowhere.csv", r"data\.split\.file is nowhere\.csv, which does not exist"),
        ("output=/proc/nowhere", r"config field output is /proc/nowhere, which cannot be written"),
        ("loop.batch_size=100", r"loop\.batch_size is 100; there are only 72 training images"),
        ("data.root=nowhere", r"data\.root is nowhere; it must be an existing folder"),
        ("data.table=nowhere.csv", r"data\.table: .*nowhere\.csv is unreadable"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_before_an_image_is_read(
    tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    item: str, message: str,
) -> None:  # fmt: skip
    assert fit(tree, tmp_path, item) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_a_gpu_that_is_demanded_and_not_there_is_told_before_an_image_is_read(
    tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # Where there is one, it is hidden.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fit(tree, tmp_path, "loop.device=cuda") == 2
    assert "loop.device is 'cuda', but no CUDA device is available" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_bad_files_are_told_before_training(
    tree: dict[str, Any], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "disc/00-1.png").write_bytes(b"")
    jpeg = root / "bars/05-0.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[: jpeg.stat().st_size // 2])
    assert fit(tree, tmp_path) == 2
    said = capsys.readouterr().err
    assert "2 image files are unreadable" in said
    assert "disc/00-1.png: image is empty" in said
    assert "bars/05-0.jpg: damaged JPEG" in said
    assert not (tmp_path / "run" / "config.json").exists()


def test_images_of_all_sizes_and_modes_make_one_data_set(
    tree: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    grey = np.linspace(0, 255, 200 * 300).reshape(200, 300)
    eight = Image.fromarray(grey.astype(np.uint8))
    eight.convert("RGB").convert("CMYK").save(root / "plain/00-0.jpg", "JPEG", quality=95)
    Image.fromarray((grey * 257).astype(np.uint16)).save(root / "plain/00-1.png")
    eight.convert("P").save(root / "plain/01-1.png")
    eight.resize((9, 400)).save(root / "plain/01-0.jpg")
    (root / "plain/02-1.png").write_bytes(dicom(grey.astype(np.uint8)))
    data = load_dataset(DataConfig.model_validate(tree["data"]), tmp_path / "cache")
    by_name = {sample.file: data.images[n] for n, sample in enumerate(data.samples)}
    assert {image.shape for image in by_name.values()} == {(64, 64, 3)}
    expected = np.asarray(eight.resize((64, 64), Image.Resampling.BILINEAR)).astype(int)
    for name in ("plain/00-0.jpg", "plain/00-1.png", "plain/01-1.png"):
        assert np.abs(by_name[name].astype(int) - expected[..., None]).max() <= 6


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """As if the disk were full: no file can grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_at_a_checkpoint_is_named_and_the_last_one_kept(
    tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert fit(tree, tmp_path) == 0
    size = (run / "best.pt").stat().st_size
    with largest_file(size // 2):
        assert fit(tree, tmp_path, "loop.epochs=2") == 2
    said = capsys.readouterr().err
    assert re.search(r"^error: .*File too large: '.*/run/(best|last)\.pt'", said, re.MULTILINE)
    assert "Traceback" not in said
    assert not [file for file in run.iterdir() if file.name.startswith(".")]


def test_a_folder_of_dicom_media_is_explained(
    tree: dict[str, Any], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(root / "disc")
    (root / "disc").mkdir()
    (root / "disc" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (root / "disc" / "IM000001").write_bytes(b"\0" * 128 + b"DICM")
    del tree["data"]["table"]
    assert fit(tree, tmp_path) == 2
    told = (
        r"no images of class disc .*; 2 files have no suffix, as on DICOM media beside a DICOMDIR"
    )
    assert re.search(told, capsys.readouterr().err)


@pytest.fixture
def dicoms(tmp_path: Path) -> Path:
    """Three classes of DICOM files, two images of each patient, who are told in the files alone."""
    root, rng = tmp_path / "dicoms", np.random.default_rng(0)
    for number, info in enumerate(CLASSES):
        (root / info["key"]).mkdir(parents=True)
        for patient in range(12):
            for image in range(2):
                pixels = rng.integers(0, 4096, (40, 40), np.uint16)
                patient_id = f"ID-{number}{patient:02d}"
                file = root / info["key"] / f"{rng.integers(1 << 30):08x}-{image}.dcm"
                file.write_bytes(dicom(pixels, PatientID=patient_id, BitsStored=12, HighBit=11))
    return root


def test_a_folder_of_dicom_files_is_trained_with_their_patients_only_if_asked(
    tree: dict[str, Any], dicoms: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    tree["data"] |= {"root": str(dicoms), "table": None}
    caplog.set_level(logging.DEBUG)
    assert fit(tree, tmp_path) == 0
    assert "72 images, 72 patients" in capfd.readouterr().err
    assert fit(tree, tmp_path, "data.group_from=dicom") == 0
    said = capfd.readouterr()
    assert "72 images, 36 patients" in said.err
    with (tmp_path / "run" / "split.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    groups = {row["patient"] for row in rows}
    assert len(groups) == 36
    assert all(re.fullmatch(r"patient-[0-9a-f]{16}", group) for group in groups)
    assert len({(row["patient"], row["split"]) for row in rows}) == 36
    assert not re.search(r"ID-\d", said.err + said.out + caplog.text)
    for file in (tmp_path / "run").rglob("*"):
        assert not file.is_file() or not re.search(rb"ID-\d\d\d", file.read_bytes())


def test_the_key_changes_the_hash_and_a_file_without_patient_is_listed(
    tree: dict[str, Any], dicoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree["data"] |= {"root": str(dicoms), "table": None, "group_from": "dicom"}
    config = DataConfig.model_validate(tree["data"])
    plain = {sample.group for sample in load_dataset(config, tmp_path / "cache").samples}
    monkeypatch.setenv(KEY_VARIABLE, "of this hospital")
    keyed = {sample.group for sample in load_dataset(config, tmp_path / "cache").samples}
    assert len(keyed) == len(plain) == 36
    assert not keyed & plain
    buffer = io.BytesIO()
    Image.new("L", (20, 20), 9).save(buffer, "PNG")
    (dicoms / "disc" / "other.png").write_bytes(buffer.getvalue())
    (dicoms / "disc" / "nobody.dcm").write_bytes(dicom(np.zeros((20, 20), np.uint8), PatientID=""))
    told = r"1 image files are without a PatientID, which .*:\n  disc/nobody\.dcm$"
    with pytest.raises(DataError, match=told):
        load_dataset(config, tmp_path / "cache")
