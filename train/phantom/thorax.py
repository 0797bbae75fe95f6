"""A healthy thorax, seen from the front, as an attenuation map."""

from dataclasses import dataclass

import numpy as np

from train.phantom.anatomy import Anatomy, cage, dome
from train.phantom.bones import bones
from train.phantom.frame import Field, Point, Stroke, blank, blob, clouds, grid, paint, stamp, step
from train.phantom.vessels import vessels


@dataclass(frozen=True)
class Thorax:
    """What rays meet.

    Attributes:
        attenuation: 0 is air, about 1 the densest tissue.
        air: how much aerated lung, in [0, 1].
    """

    attenuation: Field
    air: Field


def render_thorax(a: Anatomy, rng: np.random.Generator) -> Thorax:
    """Add up what an X-ray meets on its way: wall, lungs, mediastinum, bones, vessels."""
    lung = _lungs(a)
    heart = _mediastinum(a)
    air = lung * (1.0 - 0.93 * heart)
    body, abdomen = _body(a)
    grain = clouds(rng, 24, 4, gain=0.7)
    total = body * a.density
    total -= 0.50 * air
    # Heart over diaphragm is no denser than either: its lower border does not show on a radiograph.
    total += 0.17 * (1.0 - (1.0 - 0.85 * heart) * (1.0 - abdomen))
    total += _spine(a) * (0.055 + 0.02 * heart)
    total -= _airway(a) * 0.10
    total += bones(a) * a.rib_density * (0.6 + 0.4 * body) * (1.0 - 0.5 * heart)
    total += vessels(rng, a.vascularity, lung) * (0.25 + 0.75 * air)
    total += (
        _breasts(a) * (1.0 - 0.7 * abdomen) * np.minimum(3.0 * body, 1.0)
        + 0.010 * grain * air
        + 0.006 * grain * body
    )
    if a.gas:
        total -= a.gas * blob((0.36, a.dome_y[1] + 0.17), (0.19, 0.09), 0.25, 0.25) * abdomen
    return Thorax(np.maximum(total, 0.0), air)


def _lungs(a: Anatomy) -> Field:
    x, y = grid()
    medial, lateral = cage(a, y)
    across = (np.abs(x) - medial) / np.maximum(lateral - medial, 0.02)
    chord = np.sqrt(np.maximum(1.0 - (2.0 * np.clip(across, 0.0, 1.0) - 1.0) ** 2, 0.0))
    chord = 0.5 * (chord + np.sqrt(chord))
    above = dome(a) - y
    floor = step(above, 0.03) * (0.72 + 0.28 * step(above - 0.14, 0.30))
    roof = 0.62 + 0.38 * step(y - a.apex_y + 0.28, 0.55)
    return chord * floor * roof * step(y - (a.apex_y + 0.02), 0.05)


def _mediastinum(a: Anatomy) -> Field:
    """Heart and great vessels in [0, 1]: rounded parts that flow into one silhouette."""
    x, y = grid()
    s, hx, base = a.heart_size, a.heart_x, a.dome_y[0]
    parts = (
        ((0.19 * s + hx, base - 0.13), (0.40 * s, 0.28 * s), 0.50, 5.0),
        ((-0.06 + hx, base - 0.18), (0.22 * s, 0.30 * s), 0.0, 5.0),
        ((0.06 + hx, -0.32), (0.15 * a.knob, 0.12 * a.knob), 0.0, 3.0),
        ((0.09 + hx, -0.07), (0.14 * s, 0.20), 0.0, 3.0),
        ((-0.05 + hx, -0.10), (0.12 * s, 0.34), 0.0, 3.0),
    )
    # A soft maximum of the implicit functions: no creases where two parts meet.
    half_width = a.mediastinum_half_width - 0.025 * np.cos(3.5 * (y + 0.6))
    total = np.exp(6.0 * np.clip((half_width - np.abs(x - 0.4 * hx)) / 0.12, -2.0, 0.6))
    for centre, radii, angle_rad, sharpness in parts:
        total += _lump(centre, radii, angle_rad, sharpness)
    return step(total - 1.25, 0.9)


def _lump(centre: Point, radii: Point, angle_rad: float, sharpness: float) -> Field:
    """1 on the border of an ellipse, more inside, less outside."""
    return stamp(
        lambda u, v: np.exp(sharpness * (1.0 - u * u - v * v)), centre, radii, angle_rad, reach=1.4
    )


def _body(a: Anatomy) -> tuple[Field, Field]:
    """Soft tissue of trunk, neck and shoulders; and the abdomen below the diaphragm."""
    x, y = grid()
    _, lateral = cage(a, y)
    ax = np.abs(x)
    trunk = lateral + a.wall + 0.75 * step(-0.28 - y, 0.75) + 0.12 * np.maximum(y - 0.5, 0.0)
    slope = np.maximum(ax - 0.22, 0.0)
    shoulder = a.shoulder_y + 0.42 * slope**1.4 - 0.024 / (slope + 0.05)
    inside = step(trunk - ax, 0.03) * step(y - shoulder, 0.05)
    # Rays near the skin cross little tissue: the chord of a rounded trunk.
    chord = np.sqrt(np.clip((trunk - ax) / 0.45, 0.0, 1.0))
    thin = 1.0 - 0.30 * step(a.shoulder_y + 0.22 + 0.25 * ax - y, 0.5)
    under_dome = step(y - dome(a), 0.03) * step(lateral - ax, 0.05)
    abdomen = np.maximum(under_dome, step(y - 0.85, 0.5)) * inside
    return inside * (0.36 + 0.34 * chord) * thin, abdomen


def _spine(a: Anatomy) -> Field:
    x, y = grid()
    midline = a.spine_x + a.scoliosis * np.sin(2.2 * y)
    column = step(0.095 + 0.02 * y - np.abs(x - midline), 0.03)
    disc = np.abs(np.mod(y * (1.0 - 0.12 * y) / 0.155, 1.0) - 0.5)
    process = np.exp(-(((x - midline) / 0.022) ** 2)) * np.exp(-(((disc - 0.1) / 0.16) ** 2))
    spine: Field = column * (0.55 + 0.45 * step(0.40 - disc, 0.12)) + 0.45 * process
    return spine


def _airway(a: Anatomy) -> Field:
    """Trachea and the two main bronchi: air inside the mediastinum."""
    carina = (0.01 + a.heart_x * 0.5, -0.22)
    x0 = a.heart_x * 0.3
    strokes = [
        Stroke([(x0, -1.4), (x0, -0.7), carina], 0.085),
        Stroke([carina, (carina[0] - 0.17, -0.06)], 0.06, 0.8),
        Stroke([carina, (carina[0] + 0.21, -0.07)], 0.055, 0.7),
    ]
    return paint(strokes, 0.018)


def _breasts(a: Anatomy) -> Field:
    """Two shadows with a visible lower border, fading upwards."""
    total = blank()
    if a.breast:
        _, y = grid()
        fade = a.breast * step(y - (a.breast_y - 0.3), 0.6)
        for side in (-1.0, 1.0):
            total += fade * blob((side * 0.50, a.breast_y), (0.40, 0.36), 0.07)
    return total
