"""The two findings. They differ in shape and texture; their brightness overlaps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from train.phantom.frame import (
    PX_PER_UNIT,
    X_MAX_UNITS,
    Y_MAX_UNITS,
    Field,
    Point,
    Stroke,
    blank,
    blurred,
    clouds,
    paint,
    stamp,
    step,
)
from train.phantom.thorax import Thorax

# A finding is placed where this much of its surroundings is aerated lung.
_MIN_AIR = 0.5


@dataclass(frozen=True)
class Lesion:
    """What it adds to the attenuation, and where it is (`bool[H_PX, W_PX]`)."""

    attenuation: Field
    mask: NDArray[np.bool_]


def nodules(thorax: Thorax, rng: np.random.Generator) -> Lesion:
    """One, sometimes two, rounded opacities of 27 to 41 mm with a sharp, slightly lobed border."""
    attenuation = blank()
    mask = np.zeros(attenuation.shape, dtype=np.bool_)
    for _ in range(1 if rng.random() < 0.75 else 2):
        radius = rng.uniform(0.084, 0.128)
        centre = _place(thorax.air, radius, rng)
        ball = _ball(centre, radius, rng)
        attenuation = np.maximum(attenuation, rng.uniform(0.26, 0.42) * ball)
        mask |= ball > 0.0
    return Lesion(attenuation, mask)


def infiltrate(thorax: Thorax, rng: np.random.Generator) -> Lesion:
    """One, sometimes two, patchy regions without a border, crossed by air-filled bronchi."""
    attenuation = blank()
    mask = np.zeros(attenuation.shape, dtype=np.bool_)
    for _ in range(1 if rng.random() < 0.75 else 2):
        radii = (rng.uniform(0.22, 0.36), rng.uniform(0.20, 0.34))
        centre = _place(thorax.air, 0.5 * min(radii), rng)
        distance = stamp(
            lambda u, v: 1.5 - np.hypot(u, v), centre, radii, rng.uniform(0.0, np.pi), reach=1.5
        )
        ragged = np.maximum(distance, 0.0) + 0.22 * clouds(rng, 9, 3) * (distance > 0.0)
        envelope = (
            step(ragged - 0.62, 1.24) * (0.35 + 0.65 * thorax.air) * step(thorax.air - 0.15, 0.2)
        )
        patches = step(clouds(rng, 24, 4, gain=0.8) + 0.2, 3.0)
        texture = (0.32 + 0.68 * patches) * (1.0 - 0.35 * _bronchi(centre, radii, rng))
        attenuation = np.maximum(attenuation, rng.uniform(0.28, 0.40) * envelope * texture)
        mask |= envelope > 0.25
    return Lesion(attenuation, mask)


FINDINGS: Mapping[str, Callable[[Thorax, np.random.Generator], Lesion]] = MappingProxyType(
    {"nodule": nodules, "infiltrate": infiltrate}
)


def _ball(centre: Point, radius: float, rng: np.random.Generator) -> Field:
    """The chord of a slightly flattened sphere whose radius varies with the direction."""
    lobes = [(k, rng.uniform(0.0, 0.05), rng.uniform(0.0, 2 * np.pi)) for k in (2, 3, 5)]
    radii = (radius, radius * rng.uniform(0.86, 1.0))

    def chord(u: Field, v: Field) -> Field:
        phi = np.arctan2(v, u)
        border = 1.0 + sum(size * np.cos(k * phi + phase) for k, size, phase in lobes)
        inside: Field = np.maximum(1.0 - (u * u + v * v) / (border * border), 0.0)
        return np.sqrt(inside)

    return stamp(chord, centre, radii, rng.uniform(0.0, np.pi), reach=1.2)


def _place(air: Field, radius: float, rng: np.random.Generator) -> Point:
    """A point of the lung, at least about `radius` units from its border."""
    around = blurred(air, radius)
    rows, columns = np.nonzero(around >= min(_MIN_AIR, 0.9 * float(around.max())))
    index = int(rng.integers(len(rows)))
    return columns[index] / PX_PER_UNIT - X_MAX_UNITS, rows[index] / PX_PER_UNIT - Y_MAX_UNITS


def _bronchi(centre: Point, radii: Point, rng: np.random.Generator) -> Field:
    """Air bronchograms: a few dark, slightly bent lines that fan out from the hilum's side."""
    side = -1.0 if centre[0] < 0 else 1.0
    strokes = []
    for _ in range(4):
        x = centre[0] - side * radii[0] * rng.uniform(0.3, 1.0)
        y = centre[1] + radii[1] * rng.uniform(-0.7, 0.7)
        heading = rng.uniform(-0.7, 0.7)
        points = [(x, y)]
        for _ in range(6):
            heading += rng.normal(0.0, 0.25)
            x += side * 0.05 * float(np.cos(heading))
            y += 0.05 * float(np.sin(heading))
            points.append((x, y))
        strokes.append(Stroke(points, rng.uniform(0.010, 0.018)))
    return paint(strokes, 0.004)
