import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.bundle import MANIFEST, Bundle, write_bundle
from model.errors import BundleError
from model.manifest import FileEntry, Manifest

Edit = Callable[[dict[str, Any]], object]


def manifest_tree(files: dict[str, FileEntry]) -> dict[str, Any]:
    row = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "auroc": None, "support": 3}
    return {
        "name": "demo",
        "created": "2026-01-02T03:04:05Z",
        "classes": [
            {"key": "normal", "name": "Normal", "description": "Nothing", "severity": "none"},
            {"key": "nodule", "name": "Nodule", "description": "A spot", "severity": "high"},
        ],
        "decode": {"width_px": 32, "height_px": 16},
        "architecture": {
            "name": "baseline",
            "explained_layer": "features",
            "cam_height": 2,
            "cam_width": 4,
        },
        "temperature": 1.5,
        "tolerance": {"fp32": {"probabilities": 0.001, "cam": 0.01}},
        "parity": {"onnx": {"probabilities": 0.0, "cam": 0.0}},
        "quantisation": {"shipped": False, "reason": "macro-F1 falls"},
        "metrics": {
            "accuracy": 1.0,
            "macro_f1": 1.0,
            "ece": 0.0,
            "ece_uncalibrated": 0.0,
            "per_class": {"normal": row, "nodule": row},
            "confusion": [[3, 0], [0, 3]],
            "images": 6,
        },
        "provenance": {
            "git_commit": None,
            "git_dirty": None,
            "config_sha256": "0",
            "data_fingerprint": "0",
            "split_sha256": "0",
            "seed": 0,
            "versions": {},
            "hardware": "test",
            "trained_seconds": 1.0,
            "epochs": 1,
        },
        "files": {name: entry.model_dump() for name, entry in files.items()},
    }


def describe(files: dict[str, FileEntry]) -> Manifest:
    return Manifest.model_validate(manifest_tree(files))


def fill(directory: Path) -> None:
    (directory / "model.ts").write_bytes(b"script")
    (directory / "model.onnx").write_bytes(b"onnx")
    np.savez(
        directory / "reference.npz",
        image=np.zeros((3, 16, 32, 3), np.uint8),
        logits=np.zeros((3, 2), np.float32),
        probabilities=np.full((3, 2), 0.5, np.float32),
        cam=np.zeros((3, 2, 2, 4), np.float32),
    )
    (directory / "report").mkdir()
    (directory / "report" / "report.png").write_bytes(b"picture")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "bundle", fill, describe)


def edit(bundle: Bundle, change: Edit) -> None:
    file = bundle.path / MANIFEST
    tree = json.loads(file.read_text())
    change(tree)
    file.write_text(json.dumps(tree))


def test_what_is_written_is_read_and_verified(bundle: Bundle) -> None:
    read = Bundle.open(bundle.path)
    read.verify()
    assert read.manifest == bundle.manifest
    assert set(read.manifest.files) == {
        "model.ts", "model.onnx", "reference.npz", "report/report.png",
    }  # fmt: skip
    assert read.precisions == ("fp32",)
    assert len(read.digest) == 64
    assert read.reference().cam.shape == (3, 2, 2, 4)


def test_nothing_else_is_left_beside_it(bundle: Bundle) -> None:
    assert [file.name for file in bundle.path.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("name", ["model.onnx", "report/report.png"])
def test_an_altered_file_is_named(bundle: Bundle, name: str) -> None:
    file = bundle.path / name
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(BundleError, match=rf"{name} has SHA-256"):
        bundle.verify()


def test_a_shortened_file_is_named_with_its_size(bundle: Bundle) -> None:
    (bundle.path / "model.ts").write_bytes(b"scrip")
    with pytest.raises(BundleError, match=r"model\.ts has 5 bytes; the manifest says 6"):
        bundle.verify()


def test_a_missing_file_is_named(bundle: Bundle) -> None:
    (bundle.path / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        bundle.verify()


def test_a_directory_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleError, match="not a directory"):
        Bundle.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update(schema_version=2), r"field schema_version is 2.*1"),
        (lambda t: t.update(temperature=0), r"field temperature is 0.*greater than 0"),
        (lambda t: t["classes"][1].update(key="a b"), r"field classes\.1\.key is 'a b'"),
        (lambda t: t["classes"][1].update(key="normal"), r"'normal' occurs more than once"),
        (lambda t: t["classes"][0].update(severity="bad"), r"severity is 'bad'.*'moderate'"),
        (lambda t: t["classes"][0].pop("name"), r"field classes\.0\.name: Field required"),
        (lambda t: t.update(extra=1), r"field extra is 1: Extra inputs"),
        (lambda t: t["files"].pop("model.onnx"), r"files lacks 'model\.onnx'"),
        (lambda t: t["files"].update({"../x": t["files"]["model.ts"]}), r"'\.\./x' does not lie"),
        (lambda t: t["files"].update({"/x": t["files"]["model.ts"]}), r"'/x' does not lie"),
        (lambda t: t["quantisation"].update(shipped=True), r"files lacks 'model\.int8\.onnx'"),
        (
            lambda t: t["files"].update({"model.int8.onnx": t["files"]["model.ts"]}),
            r"quantisation\.shipped is false",
        ),
        (lambda t: t["tolerance"].clear(), r"tolerance lacks 'fp32'"),
        (lambda t: t["decode"].update(width_px=0), r"field decode\.width_px is 0"),
    ],
)
def test_a_wrong_manifest_names_file_and_field(bundle: Bundle, change: Edit, message: str) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=rf"manifest\.json: .*{message}"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_damaged_manifest_is_an_error(bundle: Bundle, text: str) -> None:
    (bundle.path / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.open(bundle.path)


def test_a_reference_of_another_shape_is_refused(bundle: Bundle) -> None:
    edit(bundle, lambda tree: tree["decode"].update(width_px=64))
    with pytest.raises(BundleError, match=r"reference\.npz has images \(3, 16, 32, 3\)"):
        Bundle.open(bundle.path).reference()


def test_a_pickle_in_the_reference_is_refused(bundle: Bundle) -> None:
    np.savez(bundle.path / "reference.npz", image=np.array([{}], dtype=object))
    with pytest.raises(BundleError, match=r"reference\.npz is unreadable"):
        bundle.reference()


def test_a_failure_while_writing_keeps_the_old_bundle(bundle: Bundle) -> None:
    def break_off(directory: Path) -> None:
        fill(directory)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_bundle(bundle.path, break_off, describe)
    Bundle.open(bundle.path).verify()
    assert [file.name for file in bundle.path.parent.iterdir()] == ["bundle"]


def test_a_newer_bundle_takes_the_place_of_the_old(bundle: Bundle) -> None:
    def fill_more(directory: Path) -> None:
        fill(directory)
        (directory / "model.onnx").write_bytes(b"newer")

    write_bundle(bundle.path, fill_more, describe)
    Bundle.open(bundle.path).verify()
    assert (bundle.path / "model.onnx").read_bytes() == b"newer"


def test_a_directory_that_is_no_bundle_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BundleError, match="not overwritten"):
        write_bundle(tmp_path, fill, describe)
    assert (tmp_path / "thesis.tex").exists()


def test_a_bundle_may_be_moved(bundle: Bundle, tmp_path: Path) -> None:
    shutil.move(bundle.path, tmp_path / "elsewhere")
    Bundle.open(tmp_path / "elsewhere").verify()
