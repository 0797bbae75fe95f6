"""The images that are trained on: phantoms of one size, as published radiographs come.

JPEG in RGB, a folder per class below `train`, `val` and `test`: every loop reads the same files.
"""

import csv
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from train.phantom import CLASSES, PhantomConfig, generate

CLASS_KEYS = tuple(info.key for info in CLASSES)
_QUALITY = 90
_SEED = 5


@dataclass(frozen=True)
class Source:
    """What is generated.

    Attributes:
        images: for training.
        val_images: for validation; as many again as there are classes are for testing.
        side_px: of each file.
    """

    images: int
    val_images: int
    side_px: int

    def write(self, directory: Path) -> Path:
        """Write the images below `directory`, unless they are there; return their root."""
        root = directory / f"{self.images}-{self.val_images}-{self.side_px}px"
        if root.is_dir():
            return root
        count = self.images + self.val_images + len(CLASSES)
        config = PhantomConfig(
            # Whole patients of every class: some are left over.
            images=count + 8 * len(CLASSES),
            seed=_SEED,
            min_size_px=self.side_px,
            max_size_px=self.side_px,
        )
        drawn = directory / f"phantom-{count}-{self.side_px}px"
        generate(drawn, config)
        aside = root.with_name(f".{root.name}.{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda pair: _rewrite(*pair), self._assigned(drawn, aside)))
        aside.rename(root)
        shutil.rmtree(drawn)
        return root

    def _assigned(self, drawn: Path, root: Path) -> list[tuple[Path, Path]]:
        """Where each drawn file goes. The classes take turns, and no patient is divided."""
        with (drawn / "labels.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        parts = [
            ("test", len(CLASSES)),
            ("val", self.val_images),
            ("train", self.images),
        ]
        left = {key: [row for row in rows if row["label"] == key] for key in CLASS_KEYS}
        pairs = []
        for part, count in parts:
            taken: set[str] = set()
            for number in range(count):
                key = CLASS_KEYS[number % len(CLASS_KEYS)]
                row = left[key].pop(0)
                taken.add(row["patient"])
                file = Path(row["file"])
                pairs.append((drawn / file, root / part / key / f"{file.stem}.jpg"))
            for key, others in left.items():
                left[key] = [row for row in others if row["patient"] not in taken]
        return pairs


def _rewrite(drawn: Path, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(drawn) as image:
        image.convert("RGB").save(file, "JPEG", quality=_QUALITY)
