import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from train.__main__ import main
from train.data import Dataset, load_dataset
from train.data_config import DataConfig
from train.errors import DataError
from train.leakage import Duplicates, check_leakage, find_leakage, keep_together
from train.split import make_split

from .conftest import CLASSES, shapes_tree


@pytest.fixture
def copy(shapes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shapes, tmp_path / "shapes"))


def add(root: Path, file: str, label: str, patient: str, data: bytes | Image.Image) -> None:
    if isinstance(data, bytes):
        (root / file).write_bytes(data)
    else:
        data.save(root / file)
    with (root / "labels.csv").open("a") as stream:
        stream.write(f"{file},{label},{patient},\n")


def load(root: Path, cache: Path) -> Dataset:
    decode = {"width_px": 64, "height_px": 64}
    tree = {"root": root, "table": "labels.csv", "classes": CLASSES, "decode": decode}
    return load_dataset(DataConfig.model_validate(tree), cache)


def position(data: Dataset, file: str) -> int:
    return next(n for n, sample in enumerate(data.samples) if sample.file == file)


def test_images_of_their_own_are_no_copies(shapes: Path, tmp_path: Path) -> None:
    assert Duplicates(load(shapes, tmp_path)).all == []


@pytest.fixture
def copied(copy: Path, tmp_path: Path) -> Dataset:
    """The shapes with one image twice, one scaled, compressed and brightened, one contradicted."""
    add(copy, "disc/again.png", "disc", "x", (copy / "disc/03-1.png").read_bytes())
    with Image.open(copy / "bars/04-1.png") as image:
        brighter = image.resize((70, 70)).point(lambda value: min(255, int(value * 1.15 + 5)))
    add(copy, "bars/again.jpg", "bars", "y", brighter)
    add(copy, "plain/other.png", "plain", "z", (copy / "disc/05-1.png").read_bytes())
    return load(copy, tmp_path / "cache")


def test_copies_are_found(copied: Dataset) -> None:
    duplicates = Duplicates(copied)

    def files(pairs: list[tuple[int, int]]) -> list[set[str]]:
        return [{copied.samples[a].file, copied.samples[b].file} for a, b in pairs]

    assert files(duplicates.exact) == [
        {"disc/03-1.png", "disc/again.png"},
        {"disc/05-1.png", "plain/other.png"},
    ]
    assert files(duplicates.near) == [{"bars/04-1.png", "bars/again.jpg"}]


def test_a_drawn_split_keeps_copies_together(copied: Dataset) -> None:
    duplicates = Duplicates(copied)
    together = keep_together(copied.samples, duplicates.all)
    parts = make_split(together, copied.classes, DataConfig.model_fields["split"].default, 0)
    leakage = find_leakage(copied, parts, duplicates)
    assert (leakage.groups, leakage.exact_duplicates, leakage.near_duplicates) == ([], [], [])
    assert len(leakage.contradictions) == 1
    told = r"(?s)1 contradictions:\n  disc/05-1.*allow=\[contradictions\]"
    with pytest.raises(DataError, match=told):
        check_leakage(leakage, [])
    check_leakage(leakage, ["contradictions"])


def test_every_kind_of_leakage_is_told_with_its_files(copied: Dataset) -> None:
    parts: list[Any] = ["train"] * len(copied.samples)
    for file in ("disc/again.png", "bars/again.jpg", "plain/00-0.jpg"):
        parts[position(copied, file)] = "test"
    leakage = find_leakage(copied, parts, Duplicates(copied))
    assert leakage.groups == ["plain-00: test, train"]
    assert leakage.exact_duplicates == ["disc/03-1.png (train, disc) = disc/again.png (test, disc)"]
    assert leakage.near_duplicates == ["bars/04-1.png (train, bars) = bars/again.jpg (test, bars)"]
    assert leakage.contradictions == [
        "disc/05-1.png (train, disc) = plain/other.png (train, plain)"
    ]


def test_the_hash_tells_noise_from_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 64, 64, 3), np.uint8)
    data = Dataset(tmp_path, [], [], [str(n) for n in range(40)], images)
    assert Duplicates(data).all == []


def test_a_given_split_that_leaks_stops_the_run_unless_it_is_allowed(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = shapes_tree(copy, tmp_path / "run")
    tree["loop"]["epochs"] = 1
    tree["tracking"] = {"tracker": "none"}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tree))
    assert main(["fit", "--config", str(config)]) == 0
    split = (tmp_path / "run" / "split.csv").read_text().splitlines()
    leaking = [
        line.replace(",train", ",test") if line.startswith("disc/00-0.jpg") else line
        for line in split
    ]
    leaking = (
        leaking
        if leaking != split
        else [
            line.rsplit(",", 1)[0] + ",train" if line.startswith("disc/00-0.jpg") else line
            for line in split
        ]
    )
    (tmp_path / "leaking.csv").write_text("\n".join(leaking) + "\n")
    given = f"data.split.file={tmp_path / 'leaking.csv'}"
    before = (tmp_path / "run" / "best.pt").read_bytes()
    assert main(["fit", "--config", str(config), given]) == 2
    assert "1 groups:\n  disc-00: " in capsys.readouterr().err
    assert (tmp_path / "run" / "best.pt").read_bytes() == before
    assert main(["fit", "--config", str(config), given, "data.split.allow=[groups]"]) == 0
    assert json.loads((tmp_path / "run" / "leakage.json").read_text())["groups"]
