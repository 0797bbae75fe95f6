import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.image import DecodeRule, decode, resize_pixels
from tests.model.dicoms import dicom
from train.data import load_classes, load_dataset
from train.data_config import DataConfig
from train.errors import DataError

from .conftest import CLASSES, IMAGES_EACH, PATIENTS


def config(root: Path, **changes: object) -> DataConfig:
    tree: dict[str, object] = {
        "root": root,
        "table": "labels.csv",
        "classes": CLASSES,
        "decode": {"width_px": 32, "height_px": 32},
    }
    return DataConfig.model_validate(tree | changes)


@pytest.fixture
def copy(shapes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shapes, tmp_path / "shapes"))


def rewrite(root: Path, old: str, new: str) -> None:
    table = root / "labels.csv"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))


def test_a_csv_gives_labels_patients_and_masks(shapes: Path, tmp_path: Path) -> None:
    data = load_dataset(config(shapes), tmp_path)
    assert len(data.samples) == len(CLASSES) * PATIENTS * IMAGES_EACH
    sample = next(s for s in data.samples if s.file == "disc/03-1.png")
    assert (sample.label, sample.group, sample.mask) == (1, "disc-03", "disc/03-1.mask")
    assert next(s for s in data.samples if s.label == 0).mask is None


def test_pixels_are_those_of_the_one_decoder(shapes: Path, tmp_path: Path) -> None:
    data = load_dataset(config(shapes), tmp_path)
    for position in (0, 17, 41):
        raw = (shapes / data.samples[position].file).read_bytes()
        expected = decode(raw, DecodeRule(width_px=32, height_px=32)).pixels
        assert np.array_equal(data.images[position], expected)


def test_folders_give_the_same_images_each_its_own_group(shapes: Path, tmp_path: Path) -> None:
    table = load_dataset(config(shapes), tmp_path)
    tree = load_dataset(config(shapes, table=None), tmp_path)
    assert [(s.file, s.label) for s in tree.samples] == [(s.file, s.label) for s in table.samples]
    assert len({s.group for s in tree.samples}) == len(tree.samples)


def test_dicom_files_are_found_in_folders_and_decoded_like_any_other(
    copy: Path, tmp_path: Path
) -> None:
    pixels = np.asarray(Image.open(copy / "disc/00-1.png").convert("L"))
    (copy / "disc/00-1.png").unlink()
    (copy / "disc/00-1.DCM").write_bytes(dicom(pixels))
    data = load_dataset(config(copy, table=None), tmp_path / "cache")
    position = next(n for n, s in enumerate(data.samples) if s.file == "disc/00-1.DCM")
    rule = config(copy).decode
    expected = resize_pixels(np.repeat(pixels[..., None], 3, axis=2), rule)
    assert np.array_equal(data.images[position], expected)


def test_classes_may_come_from_a_file(copy: Path) -> None:
    (copy / "classes.yaml").write_text(str(CLASSES))
    classes = load_classes(config(copy, classes="classes.yaml"))
    assert [info.key for info in classes] == ["plain", "disc", "bars"]


@pytest.mark.parametrize("text", ["- {key: a}", "nothing", "[", "[]"])
def test_a_wrong_class_file_is_named(copy: Path, text: str) -> None:
    (copy / "classes.yaml").write_text(text)
    with pytest.raises(DataError, match=r"data\.classes"):
        load_classes(config(copy, classes="classes.yaml"))


def test_every_unreadable_file_is_listed_with_its_reason(copy: Path, tmp_path: Path) -> None:
    (copy / "disc/00-1.png").write_bytes(b"")
    (copy / "bars/05-0.jpg").write_bytes((copy / "bars/05-0.jpg").read_bytes()[:300])
    (copy / "plain/02-1.png").write_text("not an image")
    with pytest.raises(DataError) as caught:
        load_dataset(config(copy), tmp_path / "cache")
    text = str(caught.value)
    assert "3 image files are unreadable" in text
    assert "disc/00-1.png: image is empty" in text
    assert "bars/05-0.jpg: damaged JPEG" in text
    assert "plain/02-1.png: not a JPEG, PNG or DICOM" in text


def test_unreadable_files_are_skipped_where_that_is_asked_for(copy: Path, tmp_path: Path) -> None:
    whole = load_dataset(config(copy), tmp_path / "cache")
    (copy / "disc/00-1.png").write_bytes(b"")
    (copy / "bars/05-0.jpg").write_text("not an image")
    lenient = config(copy, on_bad_image="skip", max_skipped=0.05)
    for _ in range(2):
        data = load_dataset(lenient, tmp_path / "cache")
        assert data.skipped.keys() == {"disc/00-1.png", "bars/05-0.jpg"}
        assert data.skipped["disc/00-1.png"].startswith("image is empty")
        assert len(data.samples) == len(data.images) == len(data.labels) == len(whole.samples) - 2
        for sample, image in zip(data.samples, data.images, strict=True):
            assert np.array_equal(image, whole.images[whole.samples.index(sample)])


def test_too_many_unreadable_files_stop_the_run(copy: Path, tmp_path: Path) -> None:
    (copy / "disc/00-1.png").write_bytes(b"")
    told = r"1 of 72 .* 1\.4%; data\.max_skipped allows 1\.0%:\n  disc"
    with pytest.raises(DataError, match=told):
        load_dataset(config(copy, on_bad_image="skip"), tmp_path)


def test_a_file_that_cannot_be_read_at_all_is_listed(copy: Path, tmp_path: Path) -> None:
    (copy / "disc/00-1.png").unlink()
    # Permissions do not hold for every user; this file can be opened and read by none.
    (copy / "disc/00-1.png").symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match=r"unreadable:\n  disc/00-1\.png: Input/output error"):
        load_dataset(config(copy), tmp_path)


def test_a_full_disk_is_said_and_leaves_nothing(copy: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(DataError, match=r"no room for 221,184 bytes of decoded pixels"):
            load_dataset(config(copy), tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".lock"]


def test_one_file_written_in_two_ways_is_one_file(copy: Path, tmp_path: Path) -> None:
    rewrite(copy, "plain/00-1.png", "./plain//00-0.jpg")
    with pytest.raises(DataError, match=r"listed more than once:\n  plain/00-0\.jpg"):
        load_dataset(config(copy), tmp_path)


def test_images_without_a_patient_are_not_taken_for_one_patient(copy: Path, tmp_path: Path) -> None:
    rewrite(copy, "plain/00-1.png,plain,plain-00", "plain/00-1.png,plain, ")
    rewrite(copy, "plain/01-1.png,plain,plain-01", "plain/01-1.png,plain,")
    groups = {s.file: s.group for s in load_dataset(config(copy), tmp_path).samples}
    assert groups["plain/00-1.png"] == "plain/00-1.png"
    assert groups["plain/01-1.png"] == "plain/01-1.png"


def test_a_missing_mask_is_listed(copy: Path, tmp_path: Path) -> None:
    (copy / "disc/03-1.mask").unlink()
    with pytest.raises(DataError, match=r"missing:\n  disc/03-1\.mask"):
        load_dataset(config(copy), tmp_path)


def test_missing_files_are_listed(copy: Path, tmp_path: Path) -> None:
    (copy / "disc/00-1.png").unlink()
    with pytest.raises(DataError, match=r"1 image files are missing:\n  disc/00-1\.png"):
        load_dataset(config(copy), tmp_path)


def test_an_unknown_label_names_line_and_classes(copy: Path, tmp_path: Path) -> None:
    rewrite(copy, "plain/00-1.png,plain", "plain/00-1.png,Plain ")
    with pytest.raises(DataError, match=r"line 3: label is 'Plain'; accepted: plain, disc, bars"):
        load_dataset(config(copy), tmp_path)


def test_a_missing_column_is_named(copy: Path, tmp_path: Path) -> None:
    rewrite(copy, "file,label", "path,label")
    with pytest.raises(DataError, match=r"lacks column file; it has: path, label"):
        load_dataset(config(copy), tmp_path)


def test_a_file_listed_twice_is_named(copy: Path, tmp_path: Path) -> None:
    rewrite(copy, "plain/00-1.png", "plain/00-0.jpg")
    with pytest.raises(DataError, match=r"listed more than once:\n  plain/00-0\.jpg"):
        load_dataset(config(copy), tmp_path)


def test_a_class_without_images_is_named(shapes: Path, tmp_path: Path) -> None:
    more = [*CLASSES, {"key": "rings", "name": "R", "description": "r", "severity": "low"}]
    with pytest.raises(DataError, match="no images of class rings"):
        load_dataset(config(shapes, classes=more), tmp_path)


def test_a_folder_that_is_no_class_is_named(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"folder .*bars holds images.*classes: plain, disc"):
        load_dataset(config(shapes, table=None, classes=CLASSES[:2]), tmp_path)


def test_a_root_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root is .*nowhere"):
        load_dataset(config(tmp_path / "nowhere"), tmp_path)


def test_the_cache_is_used_while_nothing_changes(copy: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = load_dataset(config(copy), cache)
    stamps = {file.name: file.stat().st_mtime_ns for file in cache.glob("*.[uj]*")}
    assert len(stamps) == 2
    second = load_dataset(config(copy), cache)
    assert {file.name: file.stat().st_mtime_ns for file in cache.glob("*.[uj]*")} == stamps
    assert second.fingerprint == first.fingerprint


def test_a_changed_image_changes_fingerprint_and_pixels(copy: Path, tmp_path: Path) -> None:
    before = load_dataset(config(copy), tmp_path / "cache")
    Image.new("L", (80, 80), 255).save(copy / "disc/00-1.png")
    after = load_dataset(config(copy), tmp_path / "cache")
    assert after.fingerprint != before.fingerprint
    position = next(n for n, s in enumerate(after.samples) if s.file == "disc/00-1.png")
    assert after.images[position].min() == 255


def test_a_changed_label_or_patient_changes_the_fingerprint(copy: Path, tmp_path: Path) -> None:
    before = load_dataset(config(copy), tmp_path / "cache").fingerprint
    rewrite(copy, "plain/00-1.png,plain,plain-00", "plain/00-1.png,plain,plain-77")
    patient = load_dataset(config(copy), tmp_path / "cache").fingerprint
    rewrite(copy, "plain/00-1.png,plain", "plain/00-1.png,disc")
    label = load_dataset(config(copy), tmp_path / "cache").fingerprint
    assert len({before, patient, label}) == 3
