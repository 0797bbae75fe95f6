"""The decoded pixels, with processes that come together and processes that are killed."""

import hashlib
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.image import DecodeRule, decode
from train.data.cache import DecodedCache

RULE = DecodeRule(width_px=16, height_px=16)
COUNT = 24


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(root / f"{number:02d}.png")
    return root


def cache(root: Path) -> DecodedCache:
    files = sorted(file.name for file in root.iterdir())
    hashes = [hashlib.sha256((root / name).read_bytes()).hexdigest() for name in files]
    return DecodedCache(root.parent / "cache", root, files, hashes, RULE)


def expected(root: Path) -> np.ndarray:
    return np.stack([decode(f.read_bytes(), RULE).pixels for f in sorted(root.iterdir())])


def _die_after(root: Path, images: int) -> None:
    def progress(done: int, total: int) -> None:
        if done == images:
            os.kill(os.getpid(), signal.SIGKILL)

    cache(root).read(1, progress)


@pytest.mark.parametrize("images", [1, 10, COUNT])
def test_what_a_killed_process_has_decoded_is_kept(root: Path, images: int) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die_after, args=(root, images))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    seen: list[int] = []
    pixels, bad = cache(root).read(1, lambda done, total: seen.append(done))
    assert np.array_equal(pixels, expected(root))
    assert bad == {}
    # It goes on after at least what was told as done.
    assert len(seen) <= COUNT - images


def _count_decoded(root: Path, told: "multiprocessing.Queue[int]") -> None:
    seen: list[int] = []
    cache(root).read(1, lambda done, total: seen.append(done))
    told.put(len(seen))


def test_processes_that_come_together_decode_once(root: Path) -> None:
    context = multiprocessing.get_context("fork")
    told: multiprocessing.Queue[int] = context.Queue()
    processes = [context.Process(target=_count_decoded, args=(root, told)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(told.get() for _ in processes) == [0, 0, COUNT]
    assert np.array_equal(cache(root).read(1)[0], expected(root))
