"""The example configurations, each with a small tree in the layout that it is for."""

import csv
import json
import re
from collections import defaultdict
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from train.__main__ import main
from train.config import load_config
from train.search.config import load_search
from train.search.space import check_search

from .conftest import picture

FILES = sorted(
    file.name for file in resources.files("train").joinpath("configs").iterdir() if file.is_file()
)
SEARCHES = [name for name in FILES if name.startswith("search")]
EXAMPLES = [name for name in FILES if name not in SEARCHES]
SMALL = [
    "model={architecture: baseline, options: {depth: 2, width: 8}}",
    "data.decode={width_px: 32, height_px: 32}",
    "loop={epochs: 1, batch_size: 4}",
    "tracking.tracker=none",
]


def example(name: str) -> Path:
    return Path(str(resources.files("train").joinpath("configs", name)))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_a_configuration(name: str) -> None:
    config = load_config(example(name), [], {})
    assert config.name == name.removesuffix(".yaml")


@pytest.mark.parametrize("name", SEARCHES)
def test_every_example_of_a_search_goes_with_the_phantoms(name: str) -> None:
    check_search(
        load_search(example(name), [], {}), load_config(example("phantom.yaml"), [], {}), 3
    )


def test_the_examples_are_those_that_are_documented() -> None:
    assert EXAMPLES == ["chest-xray.yaml", "ham10000.yaml", "phantom.yaml"]
    assert SEARCHES == ["search-grid.yaml", "search.yaml"]


def save(file: Path, label: str, rng: np.random.Generator) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture(label, rng)[0].save(file, "JPEG")


@pytest.fixture
def ham10000(tmp_path: Path) -> Path:
    """HAM10000 as it is published: two folders of images, and a table without suffixes."""
    root, rng, rows = tmp_path / "ham10000", np.random.default_rng(0), []
    for number, dx in enumerate(["nv", "mel", "bkl", "bcc", "akiec", "vasc", "df"]):
        for lesion in range(5):
            for image in range(1 + (lesion % 2)):
                name = f"ISIC_{number}{lesion}{image}"
                save(root / f"HAM10000_images_part_{1 + image}" / f"{name}.jpg", "disc", rng)
                age = "" if lesion == 0 else f"{35 + lesion}.0"
                sex = ("male", "female", "unknown")[lesion % 3]
                rows.append([f"HAM_{number}{lesion}", name, dx, "histo", age, sex, "back"])
    with (root / "HAM10000_metadata.csv").open("w", newline="") as stream:
        header = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
        csv.writer(stream).writerows([header, *rows])
    return root


def test_ham10000_is_trained_and_split_by_lesion(ham10000: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = [f"data.root={ham10000}", f"output={run}", *SMALL]
    assert main(["fit", "--config", str(example("ham10000.yaml")), *given]) == 0
    assert main(["evaluate", "--run", str(run)]) == 0
    with (run / "split.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 49
    homes = defaultdict(set)
    for row in rows:
        assert row["patient"] == "HAM_" + row["file"].rsplit("_", 1)[1][:2]
        homes[row["patient"]].add(row["split"])
    assert len(homes) == 35
    assert all(len(home) == 1 for home in homes.values())
    classes = json.loads((run / "evaluation.json").read_text())["metrics"]["per_class"]
    assert list(classes) == ["nv", "mel", "bkl", "bcc", "akiec", "vasc", "df"]


def test_the_kaggle_chest_x_rays_are_trained_with_a_val_drawn_anew(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root, run, rng = tmp_path / "chest_xray", tmp_path / "run", np.random.default_rng(0)
    for part, count in (("train", 16), ("val", 2), ("test", 6)):
        for number in range(count):
            begin = {"train": 115, "val": 1430, "test": 1}[part] + number
            save(root / part / "NORMAL" / f"IM-{begin:04d}-0001.jpeg", "plain", rng)
            patient = 1 + number // 2 + (900 if part == "val" else 0)
            name = f"person{patient}_bacteria_{number}.jpeg"
            save(root / part / "PNEUMONIA" / name, "bars", rng)
    (root / "val" / "NORMAL" / ".DS_Store").write_bytes(b"\0")
    given = [f"data.root={root}", f"output={run}", *SMALL]
    assert main(["fit", "--config", str(example("chest-xray.yaml")), *given]) == 0
    with (run / "split.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["file"] for row in rows if row["split"] == "test"} == {
        file.relative_to(root).as_posix() for file in (root / "test").rglob("*.jpeg")
    }
    homes = defaultdict(set)
    for row in rows:
        if row["split"] != "test":
            homes[row["patient"]].add(row["split"])
    assert "person1" in homes
    assert "IM-0115" in homes
    assert all(len(home) == 1 for home in homes.values())
    capfd.readouterr()
    # Without the redraw, the few images in val are warned of.
    given[1] = f"output={tmp_path / 'published'}"
    strict = ["data.split.redraw_val=false", "data.split.allow=[]"]
    assert main(["fit", "--config", str(example("chest-xray.yaml")), *given, *strict]) == 2
    assert re.search(r"data\.split: 3 groups:\n  person1: test, train", capfd.readouterr().err)
