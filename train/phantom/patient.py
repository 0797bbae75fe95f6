"""One patient: one anatomy, one finding or none, one to four pictures."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from train.phantom.anatomy import sample_anatomy
from train.phantom.config import LABELS, Label, PhantomConfig
from train.phantom.distractors import distractors
from train.phantom.film import expose, project_mask, sample_view
from train.phantom.lesion import FINDINGS
from train.phantom.thorax import render_thorax

# Most patients come once or twice.
_IMAGES_PER_PATIENT = (0.35, 0.30, 0.20, 0.15)
_JPEG_SHARE = 0.75
_RGB_SHARE = 0.25


@dataclass(frozen=True)
class Patient:
    index: int
    label: Label
    images: int

    @property
    def key(self) -> str:
        return f"P{self.index:05d}"


@dataclass(frozen=True)
class Record:
    """A row of `labels.csv`; paths are relative to the data set, no `mask` for a normal one.

    The last three are covariates that the label does not depend on, for figures by slice.
    """

    file: str
    label: Label
    patient: str
    mask: str
    breast_shadow: Literal["yes", "no"]
    format: Literal["jpeg", "png"]
    width_px: int


def plan_patients(config: PhantomConfig) -> list[Patient]:
    """Who there is. Every class gets its exact share of the images; numbers tell no label."""
    rng = np.random.default_rng(np.random.SeedSequence(config.seed))
    groups: list[tuple[Label, int]] = []
    for label, quota in _quotas(config).items():
        while quota > 0:
            images = min(
                quota, 1 + int(rng.choice(len(_IMAGES_PER_PATIENT), p=_IMAGES_PER_PATIENT))
            )
            groups.append((label, images))
            quota -= images
    order = rng.permutation(len(groups))
    return [Patient(index, *groups[source]) for index, source in enumerate(order)]


def _quotas(config: PhantomConfig) -> dict[Label, int]:
    """Images of each class, by the largest remainder, at least one."""
    weights = {label: float(getattr(config.balance, label)) for label in LABELS}
    total = sum(weights.values())
    exact = {label: config.images * weight / total for label, weight in weights.items()}
    quotas = {label: max(1, int(share)) for label, share in exact.items()}
    by_remainder = sorted(exact, key=lambda label: quotas[label] - exact[label])
    for label in by_remainder[: max(0, config.images - sum(quotas.values()))]:
        quotas[label] += 1
    while sum(quotas.values()) > config.images:
        quotas[max(quotas, key=lambda label: quotas[label])] -= 1
    return quotas


def write_patient(directory: Path, patient: Patient, config: PhantomConfig) -> list[Record]:
    """Draw and write all pictures of one patient; depends on nothing but the arguments."""
    seed = np.random.SeedSequence(config.seed, spawn_key=(patient.index,))
    rng = np.random.default_rng(seed)
    anatomy = sample_anatomy(rng)
    thorax = render_thorax(anatomy, rng)
    finding = FINDINGS.get(patient.label)
    lesion = finding(thorax, rng) if finding else None
    inside = thorax.attenuation + lesion.attenuation if lesion else thorax.attenuation
    records = []
    for number in range(patient.images):
        view = sample_view(rng, config.min_size_px, config.max_size_px)
        picture = expose(inside + distractors(rng), view, rng)
        stem = f"{patient.label}/{patient.key}-{number + 1}"
        encoded, extension = _encode(picture, rng)
        file, mask = f"images/{stem}.{extension}", ""
        (directory / file).write_bytes(encoded)
        if lesion:
            mask = f"masks/{stem}.png"
            project_mask(lesion.mask, view).save(directory / mask, compress_level=3)
        shadow: Literal["yes", "no"] = "yes" if anatomy.breast else "no"
        kind: Literal["jpeg", "png"] = "jpeg" if extension == "jpg" else "png"
        records.append(Record(file, patient.label, patient.key, mask, shadow, kind, view.width_px))
    return records


def _encode(image: Image.Image, rng: np.random.Generator) -> tuple[bytes, str]:
    """JPEG of varying quality or 8-bit PNG, grey or RGB."""
    is_jpeg, is_rgb, quality = (
        rng.random() < _JPEG_SHARE,
        rng.random() < _RGB_SHARE,
        int(rng.integers(72, 96)),
    )
    if is_rgb:
        image = image.convert("RGB")
    buffer = io.BytesIO()
    if is_jpeg:
        image.save(buffer, "JPEG", quality=quality)
        return buffer.getvalue(), "jpg"
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), "png"
