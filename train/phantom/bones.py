"""The skeleton's shadow: ribs, clavicles, shoulder blades and humeral heads."""

import numpy as np

from train.phantom.anatomy import Anatomy, cage, dome
from train.phantom.frame import Field, Point, Stroke, blob, fill, grid, paint, step


def bones(a: Anatomy) -> Field:
    """Their attenuation, `float32[H_PX, W_PX]`; where ribs cross, it adds up."""
    posterior: list[Stroke] = []
    anterior: list[Stroke] = []
    for index in range(11):
        origin_y = a.apex_y - 0.03 + a.rib_pitch * index
        for side in (-1.0, 1.0):
            back, front = _rib(a, origin_y, side)
            posterior += _tube(back, a.rib_width, 0.60, 0.42)
            anterior += _fading_tube(front, a.rib_width * 1.2, 0.42, 0.27)
    collar: list[Stroke] = []
    for side, tilt in zip((-1.0, 1.0), a.clavicle_tilt, strict=True):
        collar += _tube(_clavicle(a, side, tilt), a.rib_width * 1.25, 0.75, 0.55)
    _, y = grid()
    below = 1.0 - 0.75 * step(y - dome(a), 0.12)
    total: Field = 0.16 * (paint(posterior) + paint(anterior)) * below
    total += 0.17 * paint(collar) + a.scapula * _scapulae(a)
    for side in (-1.0, 1.0):
        total += 0.10 * blob((side * 1.14, a.shoulder_y + 0.40), (0.15, 0.17), 0.35)
    return total


def _rib(a: Anatomy, origin_y: float, side: float) -> tuple[list[Point], list[Point]]:
    """Back and front of a rib, which runs around the chest and sinks towards the front."""
    theta = np.linspace(0.14, 2.45, 40)
    depth = (1.0 - np.cos(theta)) / 2.0
    y = origin_y + a.rib_drop * depth - 0.035 * np.sin(2.0 * theta)
    _, lateral = cage(a, np.asarray([origin_y + 0.5 * a.rib_drop], dtype=np.float32))
    radius = float(lateral[0]) + 0.02
    x = side * radius * np.sin(theta) + a.spine_x * (1.0 - depth)
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    front = int(np.searchsorted(theta, np.pi / 2)) + 1
    return points[:front], points[front - 1 :]


def _clavicle(a: Anatomy, side: float, tilt: float) -> list[Point]:
    t = np.linspace(0.0, 1.0, 24)
    x = side * (0.07 + 0.93 * t)
    y = a.clavicle_y - tilt * t - 0.035 * np.sin(2 * np.pi * t)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _scapulae(a: Anatomy) -> Field:
    edge = a.chest_half_width
    corners = [(edge - 0.18, -0.62), (edge + 0.3, -0.72), (edge + 0.1, -0.2), (edge - 0.02, 0.02)]
    return fill([[(side * x, y) for x, y in corners] for side in (-1.0, 1.0)], 0.02)


def _tube(points: list[Point], width: float, rim: float, marrow: float) -> list[Stroke]:
    """Bone is a tube: its rims are denser than its middle."""
    return [Stroke(points, width, rim), Stroke(points, width * 0.6, marrow)]


def _fading_tube(points: list[Point], width: float, rim: float, marrow: float) -> list[Stroke]:
    """The front end of a rib turns into cartilage, which a radiograph hardly shows."""
    last = len(points) - 1
    rims, marrows = [], []
    for i in range(last):
        fade = 1.0 - (i / last) ** 2
        rims.append(Stroke(points[i : i + 2], width, rim * fade))
        marrows.append(Stroke(points[i : i + 2], width * 0.6, marrow * fade))
    return rims + marrows
