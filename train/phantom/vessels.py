"""Pulmonary vessels: two trees that grow out of the hila, taper and branch."""

import numpy as np

from train.phantom.frame import H_PX, W_PX, Field, Stroke, blank, blob, paint, pixel

_STEP_UNITS = 0.045
_MIN_WIDTH_UNITS = 0.005


def vessels(rng: np.random.Generator, vascularity: float, lung: Field) -> Field:
    """Attenuation of hila and vessels inside `lung`, `float32[H_PX, W_PX]`."""
    strokes: list[Stroke] = []
    hila = blank()
    for side in (-1.0, 1.0):
        x, y = side * rng.uniform(0.20, 0.25), rng.uniform(-0.08, 0.04)
        hila += blob((x, y), (rng.uniform(0.05, 0.08), rng.uniform(0.10, 0.15)), 0.5, side * 0.3)
        for angle in np.linspace(-1.45, 1.5, 9):
            heading = angle + rng.normal(0.0, 0.12)
            width = rng.uniform(0.018, 0.034) * vascularity
            strokes += _branch(rng, lung, side, x, y, heading, width, 0)
    strokes.sort(key=lambda stroke: stroke.width)
    tree = paint(strokes)
    return 0.15 * tree + 0.09 * vascularity * np.minimum(hila, 1.0)


def _branch(
    rng: np.random.Generator,
    lung: Field,
    side: float,
    x: float,
    y: float,
    heading: float,
    width: float,
    depth: int,
) -> list[Stroke]:
    """Walk until the vessel is too thin or leaves the lung; `heading` 0 is away from the spine."""
    strokes: list[Stroke] = []
    bend = rng.normal(0.0, 0.09)
    while width > _MIN_WIDTH_UNITS and (_inside(lung, x, y) or not strokes):
        nx = x + side * _STEP_UNITS * float(np.cos(heading))
        ny = y + _STEP_UNITS * float(np.sin(heading))
        strokes.append(Stroke([(x, y), (nx, ny)], width, min(1.0, 0.16 + width * 22.0)))
        x, y = nx, ny
        heading += bend + rng.normal(0.0, 0.14)
        width *= 0.90
        if depth < 3 and rng.random() < 0.34:
            fork = rng.uniform(0.35, 0.8) * (1 if rng.random() < 0.5 else -1)
            strokes += _branch(rng, lung, side, x, y, heading + fork, width * 0.72, depth + 1)
    return strokes


def _inside(lung: Field, x: float, y: float) -> bool:
    row, column = pixel((x, y))
    return 0 <= row < H_PX and 0 <= column < W_PX and bool(lung[row, column] > 0.25)
