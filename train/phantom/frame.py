"""The patient frame the phantom is drawn in, and the brushes it is drawn with.

One unit is about 160 mm. The origin is the middle of the thorax, x grows to the right of the
picture (the patient's left), y grows downwards. A `Field` is `float32[H_PX, W_PX]`, or broadcasts
to that.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

# Computed in float32; numpy's stubs promise no more than "some float" of such arithmetic.
Field = NDArray[np.floating[Any]]
Point = tuple[float, float]

PX_PER_UNIT = 208
X_MAX_UNITS = 1.30
Y_MAX_UNITS = 1.45
W_PX = round(2 * X_MAX_UNITS * PX_PER_UNIT)
H_PX = round(2 * Y_MAX_UNITS * PX_PER_UNIT)

# Lines are drawn twice as large and averaged: PIL does not anti-alias.
_SUPERSAMPLING = 2


class Stroke(NamedTuple):
    """A polyline, its width (both in units) and its opacity in [0, 1]."""

    points: Sequence[Point]
    width: float
    opacity: float = 1.0


@cache
def grid() -> tuple[Field, Field]:
    """x and y of the pixel centres, in units: `float32[1, W_PX]` and `float32[H_PX, 1]`."""
    x = (np.arange(W_PX, dtype=np.float32) + 0.5) / PX_PER_UNIT - X_MAX_UNITS
    y = (np.arange(H_PX, dtype=np.float32) + 0.5) / PX_PER_UNIT - Y_MAX_UNITS
    return x[None, :], y[:, None]


def pixel(point: Point) -> tuple[int, int]:
    """Row and column under a point."""
    return int((point[1] + Y_MAX_UNITS) * PX_PER_UNIT), int((point[0] + X_MAX_UNITS) * PX_PER_UNIT)


def blank() -> Field:
    return np.zeros((H_PX, W_PX), dtype=np.float32)


def step(distance: Field, softness: float) -> Field:
    """0 where `distance` is negative, 1 where positive, a cubic ramp `softness` wide between."""
    t = distance * (1.0 / softness)
    t += 0.5
    np.clip(t, 0.0, 1.0, out=t)
    ramp = 3.0 - 2.0 * t
    ramp *= t
    ramp *= t
    return ramp


def stamp(
    profile: Callable[[Field, Field], Field],
    centre: Point,
    radii: Point,
    angle_rad: float = 0.0,
    reach: float = 1.0,
) -> Field:
    """Evaluate `profile(u, v)` around an ellipse; zero beyond `reach` radii.

    `u` and `v` are the coordinates along the axes of the ellipse, in radii.
    """
    extent = reach * max(radii)
    top, left = pixel((centre[0] - extent, centre[1] - extent))
    bottom, right = pixel((centre[0] + extent, centre[1] + extent))
    rows, columns = slice(max(top, 0), max(bottom + 2, 0)), slice(max(left, 0), max(right + 2, 0))
    x, y = grid()
    dx, dy = x[:, columns] - centre[0], y[rows] - centre[1]
    cos, sin = float(np.cos(angle_rad)), float(np.sin(angle_rad))
    u = dx * (cos / radii[0]) + dy * (sin / radii[0])
    v = dy * (cos / radii[1]) - dx * (sin / radii[1])
    canvas = blank()
    canvas[rows, columns] = profile(u, v)
    return canvas


def blob(centre: Point, radii: Point, softness: float, angle_rad: float = 0.0) -> Field:
    """An ellipse in [0, 1] whose edge is a ramp of about `softness` radii."""
    reach = (1.0 + softness) ** 0.5
    return stamp(
        lambda u, v: step(1.0 - u * u - v * v, 2.0 * softness), centre, radii, angle_rad, reach
    )


def paint(strokes: Iterable[Stroke], blur_units: float = 0.0) -> Field:
    """Strokes in [0, 1], later ones over earlier ones."""
    scale = PX_PER_UNIT * _SUPERSAMPLING
    canvas = Image.new("L", (W_PX * _SUPERSAMPLING, H_PX * _SUPERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    for points, width, opacity in strokes:
        pixels = [((x + X_MAX_UNITS) * scale, (y + Y_MAX_UNITS) * scale) for x, y in points]
        width_px = max(1, round(width * scale))
        draw.line(
            pixels,
            fill=round(255 * opacity),
            width=width_px,
            joint="curve" if width_px > 4 else None,
        )
    return _field(canvas, blur_units)


def fill(polygons: Iterable[Sequence[Point]], blur_units: float = 0.0) -> Field:
    """Filled polygons in [0, 1]."""
    scale = PX_PER_UNIT * _SUPERSAMPLING
    canvas = Image.new("L", (W_PX * _SUPERSAMPLING, H_PX * _SUPERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    for polygon in polygons:
        draw.polygon(
            [((x + X_MAX_UNITS) * scale, (y + Y_MAX_UNITS) * scale) for x, y in polygon], fill=255
        )
    return _field(canvas, blur_units)


def blurred(field: Field, radius_units: float) -> Field:
    """A box blur of a field of values in [0, 1]."""
    image = Image.fromarray((field * 255.0).astype(np.uint8))
    return _field(image.filter(ImageFilter.BoxBlur(radius_units * PX_PER_UNIT)))


def _field(canvas: Image.Image, blur_units: float = 0.0) -> Field:
    if canvas.width > W_PX:
        canvas = canvas.reduce(_SUPERSAMPLING)
    if blur_units > 0:
        canvas = canvas.filter(ImageFilter.GaussianBlur(blur_units * PX_PER_UNIT))
    return np.asarray(canvas, dtype=np.float32) / 255.0


def clouds(rng: np.random.Generator, cells: int, octaves: int, gain: float = 0.55) -> Field:
    """Fractal noise, zero mean, unit variance; the coarsest octave has `cells` cells across."""
    total = blank()
    amplitude = 1.0
    for octave in range(octaves):
        across = cells * 2**octave
        down = round(across * H_PX / W_PX)
        coarse = rng.standard_normal((down, across), dtype=np.float32)
        fine = Image.fromarray(coarse).resize((W_PX, H_PX), Image.Resampling.BICUBIC)
        total += amplitude * np.asarray(fine)
        amplitude *= gain
    total -= total.mean()
    total /= total.std()
    return total
