"""What a test split must not share with training: patients, copies of images, contradictions."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from train.data import Dataset, Part, Sample
from train.data.sample import listed
from train.data_config import LeakageKind
from train.errors import DataError

Pairs = list[tuple[int, int]]

# A perceptual hash of 16 x 16 bits, of which two copies differ in few. On 222 chest radiographs,
# copies that were scaled, compressed and brightened differed in at most 8 % of the bits, pictures
# of different patients in 22 % or more. (Of 8 x 8 bits both had 6 %: chests are too much alike.)
_HASH_SIDE = 16
_LARGEST_SHARE = 0.10
_ROWS = 1024


class Leakage(BaseModel):
    """Findings by kind, a line each.

    Attributes:
        groups: patients with images in more than one part.
        exact_duplicates: files with the same bytes in different parts.
        near_duplicates: pictures that look the same in different parts.
        contradictions: copies with different labels, whatever their parts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    groups: list[str]
    exact_duplicates: list[str]
    near_duplicates: list[str]
    contradictions: list[str]


class Duplicates:
    """Copies within a data set.

    Attributes:
        exact: pairs of positions of files with the same bytes.
        near: pairs of positions of pictures that look the same and are not in `exact`.
    """

    def __init__(self, data: Dataset) -> None:
        self.exact = _same_bytes(data.hashes)
        exact = set(self.exact)
        self.near = [pair for pair in _same_look(data.images) if pair not in exact]

    @property
    def all(self) -> Pairs:
        return [*self.exact, *self.near]


def keep_together(samples: Sequence[Sample], pairs: Pairs) -> list[Sample]:
    """The samples with groups so large that a copy and its original are in one."""
    count = len(samples)
    first: dict[str, int] = {}
    links = [*pairs]
    for position, sample in enumerate(samples):
        links.append((first.setdefault(sample.group, position), position))
    rows, columns = np.array(links).T
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(count, count))
    _, home = connected_components(graph, directed=False)
    return [replace(s, group=str(number)) for s, number in zip(samples, home, strict=True)]


def find_leakage(data: Dataset, parts: Sequence[Part], duplicates: Duplicates) -> Leakage:
    """Look for what would make the test figures too good.

    Args:
        data: the images.
        parts: the part of each.
        duplicates: the copies among them.
    """
    samples, classes = data.samples, data.classes

    def told(position: int) -> str:
        sample = samples[position]
        return f"{sample.file} ({parts[position]}, {classes[sample.label].key})"

    def across(pairs: Pairs) -> list[str]:
        return [f"{told(a)} = {told(b)}" for a, b in pairs if parts[a] != parts[b]]

    contradictory = [(a, b) for a, b in duplicates.all if samples[a].label != samples[b].label]
    return Leakage(
        groups=divided_groups(samples, parts),
        exact_duplicates=across(duplicates.exact),
        near_duplicates=across(duplicates.near),
        contradictions=[f"{told(a)} = {told(b)}" for a, b in contradictory],
    )


def divided_groups(samples: Sequence[Sample], parts: Sequence[Part]) -> list[str]:
    """Groups with images in more than one part, a line each."""
    homes = defaultdict(set)
    for sample, part in zip(samples, parts, strict=True):
        homes[sample.group].add(part)
    return [f"{g}: {', '.join(sorted(h))}" for g, h in sorted(homes.items()) if len(h) > 1]


def check_leakage(leakage: Leakage, allowed: Sequence[LeakageKind]) -> None:
    """Stop at a kind of leakage that is not allowed by name.

    Raises:
        DataError: lists the findings, and says how to allow their kind.
    """
    for kind, lines in leakage:
        if lines and kind not in allowed:
            raise DataError(
                f"data.split: {len(lines)} {kind.replace('_', ' ')}:{listed(lines)}\n"
                f"mend the data or the split, or allow them: data.split.allow=[{kind}]"
            )


def _same_bytes(hashes: Sequence[str]) -> Pairs:
    first: dict[str, int] = {}
    pairs = [(first.setdefault(digest, n), n) for n, digest in enumerate(hashes)]
    return [(a, b) for a, b in pairs if a != b]


def _same_look(images: npt.NDArray[np.uint8]) -> Pairs:
    bits = [imagehash.phash(Image.fromarray(image), _HASH_SIDE).hash.ravel() for image in images]
    packed = np.packbits(np.array(bits), axis=1).view(np.uint64)
    return list(_near(packed, int(_LARGEST_SHARE * _HASH_SIDE**2)))


def _near(packed: npt.NDArray[np.uint64], most_bits: int) -> Iterator[tuple[int, int]]:
    for start in range(0, len(packed), _ROWS):
        # Only pairs (a, b) with a < b; a block of rows against all that follow it.
        rows, rest = packed[start : start + _ROWS], packed[start:]
        different = np.zeros((len(rows), len(rest)), np.uint16)
        for word in range(packed.shape[1]):
            different += np.bitwise_count(rows[:, None, word] ^ rest[None, :, word])
        for a, b in np.argwhere(np.triu(different <= most_bits, k=1)).tolist():
            yield start + a, start + b
