"""The phantom: reproducible, varied, honest about its findings, and not solvable by brightness."""

import csv
import hashlib
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from train.phantom import CLASSES, PhantomConfig, generate
from train.phantom.anatomy import sample_anatomy
from train.phantom.lesion import FINDINGS
from train.phantom.patient import plan_patients
from train.phantom.thorax import render_thorax

SMALL = PhantomConfig(images=120, seed=7, min_size_px=96, max_size_px=320, processes=1)
TINY = PhantomConfig(images=8, seed=3, min_size_px=64, max_size_px=96, processes=1)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data") / "phantom"
    generate(directory, SMALL)
    return directory


def rows_of(directory: Path) -> list[dict[str, str]]:
    with (directory / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def digests(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def grey(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("L"))


def grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    for _ in range(pixels):
        padded = np.pad(mask, 1)
        mask = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:] | mask
    return mask


def test_same_seed_gives_the_same_bytes_for_any_number_of_processes(tmp_path: Path) -> None:
    generate(tmp_path / "one", TINY)
    generate(tmp_path / "two", TINY.model_copy(update={"processes": 2}))
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_another_seed_gives_other_images(tmp_path: Path) -> None:
    generate(tmp_path / "one", TINY)
    generate(tmp_path / "two", TINY.model_copy(update={"seed": 4}))
    images = [
        {digest for path, digest in digests(tmp_path / name).items() if path.startswith("images/")}
        for name in ("one", "two")
    ]
    assert images[0].isdisjoint(images[1])


def test_every_class_gets_its_share_of_the_images() -> None:
    def shares(config: PhantomConfig) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for patient in plan_patients(config):
            counts[patient.label] += patient.images
        return dict(counts)

    assert shares(PhantomConfig(images=300)) == {"normal": 100, "nodule": 100, "infiltrate": 100}
    skewed = PhantomConfig.model_validate({"images": 101, "balance": {"normal": 8}})
    assert shares(skewed) == {"normal": 81, "nodule": 10, "infiltrate": 10}
    rare = PhantomConfig.model_validate({"images": 3, "balance": {"normal": 100}})
    assert shares(rare) == {"normal": 1, "nodule": 1, "infiltrate": 1}


def test_summary_and_table_describe_the_files(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    summary = generate(
        tmp_path / "p", TINY, progress=lambda done, total: seen.append((done, total))
    )
    rows = rows_of(tmp_path / "p")
    assert not summary.reused
    assert summary.images == len(rows) == TINY.images
    assert summary.images_per_class == dict(Counter(row["label"] for row in rows))
    assert summary.patients == len({row["patient"] for row in rows})
    assert seen[-1] == (TINY.images, TINY.images)
    listed = {path for row in rows for path in (row["file"], row["mask"]) if path}
    pictures = {path for path in digests(tmp_path / "p") if path.startswith(("images/", "masks/"))}
    assert listed == pictures


def test_patients_have_one_label_and_up_to_four_images(phantom: Path) -> None:
    labels, numbers = defaultdict(set), Counter[str]()
    for row in rows_of(phantom):
        assert re.fullmatch(r"P\d{5}", row["patient"])
        name = rf"images/{row['label']}/{row['patient']}-\d\.(jpg|png)"
        assert re.fullmatch(name, row["file"])
        labels[row["patient"]].add(row["label"])
        numbers[row["patient"]] += 1
    assert all(len(found) == 1 for found in labels.values())
    assert set(numbers.values()) == {1, 2, 3, 4}


def test_formats_modes_and_sizes_vary_within_the_limits(phantom: Path) -> None:
    kinds, sizes = set(), set()
    for row in rows_of(phantom):
        with Image.open(phantom / row["file"]) as image:
            kinds.add((image.format, image.mode))
            sizes.add(image.size)
            assert SMALL.min_size_px <= min(image.size)
            assert max(image.size) <= SMALL.max_size_px
    assert kinds == {("JPEG", "L"), ("JPEG", "RGB"), ("PNG", "L"), ("PNG", "RGB")}
    aspects = [width / height for width, height in sizes]
    assert min(aspects) < 0.9
    assert max(aspects) > 1.05


def test_masks_fit_their_images_and_have_a_plausible_area(phantom: Path) -> None:
    for row in rows_of(phantom):
        if row["label"] == "normal":
            assert row["mask"] == ""
            continue
        mask = grey(phantom / row["mask"])
        assert mask.shape == grey(phantom / row["file"]).shape
        assert set(np.unique(mask)) == {0, 255}
        assert 0.002 < float((mask > 0).mean()) < 0.2


@pytest.mark.parametrize("label", sorted(FINDINGS))
def test_findings_lie_in_the_lungs_and_inside_their_mask(label: str) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        thorax = render_thorax(sample_anatomy(rng), rng)
        lesion = FINDINGS[label](thorax, rng)
        assert float(thorax.air[lesion.mask].mean()) > 0.4
        assert float(lesion.attenuation[lesion.mask].mean()) > 0.05
        assert float(lesion.attenuation[lesion.mask].sum() / lesion.attenuation.sum()) > 0.85


def test_finding_is_visible_in_the_picture(phantom: Path) -> None:
    """Inside the mask it is brighter than just around it, mostly: ribs and heart may interfere."""
    brighter = []
    for row in rows_of(phantom):
        if row["label"] == "nodule":
            picture = grey(phantom / row["file"]).astype(float)
            mask = grey(phantom / row["mask"]) > 0
            ring = grown(mask, 4) & ~grown(mask, 1)
            brighter.append(picture[mask].mean() > picture[ring].mean())
    assert np.mean(brighter) > 0.9


def test_intensity_statistics_do_not_tell_the_classes_apart(phantom: Path) -> None:
    rows = rows_of(phantom)
    features = []
    for row in rows:
        pixels = grey(phantom / row["file"])
        histogram = np.histogram(pixels, bins=16, range=(0, 256))[0] / pixels.size
        spread = np.percentile(pixels, [1, 5, 25, 50, 75, 95, 99])
        features.append(np.concatenate([[pixels.mean(), pixels.std()], spread, histogram]))
    labels = [row["label"] for row in rows]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    guesses = cross_val_predict(
        model, np.stack(features), labels, groups=[row["patient"] for row in rows], cv=GroupKFold(5)
    )
    assert f1_score(labels, guesses, average="macro") < 0.60


def test_classes_file_describes_every_class(phantom: Path) -> None:
    classes = yaml.safe_load((phantom / "classes.yaml").read_text())
    assert [entry["key"] for entry in classes] == [entry.key for entry in CLASSES]
    assert all(set(entry) == {"key", "name", "description", "severity"} for entry in classes)
    assert {entry["severity"] for entry in classes} <= {"none", "low", "moderate", "high"}


def test_identical_phantom_is_reused(tmp_path: Path) -> None:
    generate(tmp_path / "p", TINY)
    before = digests(tmp_path / "p")
    again = generate(tmp_path / "p", TINY.model_copy(update={"processes": 2}))
    assert again.reused
    assert again.images == TINY.images
    assert digests(tmp_path / "p") == before


def test_empty_directory_is_filled(tmp_path: Path) -> None:
    assert not generate(tmp_path, TINY.model_copy(update={"images": 3})).reused


@pytest.mark.parametrize("name", ["notes.txt", "phantom.json"])
def test_foreign_directory_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=re.escape(str(tmp_path))):
        generate(tmp_path, TINY)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_phantom_of_another_configuration_is_refused(tmp_path: Path) -> None:
    generate(tmp_path / "p", TINY)
    with pytest.raises(FileExistsError, match="another configuration"):
        generate(tmp_path / "p", TINY.model_copy(update={"seed": 4}))


def test_damaged_phantom_is_refused(tmp_path: Path) -> None:
    generate(tmp_path / "p", TINY)
    lost = rows_of(tmp_path / "p")[0]["file"]
    (tmp_path / "p" / lost).unlink()
    with pytest.raises(FileExistsError, match=re.escape(lost)):
        generate(tmp_path / "p", TINY)


def test_nothing_is_left_behind_when_generation_fails(tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        generate(tmp_path / "p", TINY, progress=fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("images", {"images": 2}),
        ("seed", {"seed": -1}),
        ("balance.nodule", {"balance": {"nodule": 0}}),
        ("processes", {"processes": 0}),
        ("min_size_px", {"min_size_px": 10}),
        ("max_size_px", {"min_size_px": 900, "max_size_px": 800}),
        ("colour", {"colour": "blue"}),
    ],
)
def test_configuration_errors_name_the_field(field: str, values: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        PhantomConfig.model_validate(values)
    found = {".".join(map(str, error["loc"])) for error in caught.value.errors()}
    assert field in found or field in str(caught.value)
