"""What any chest radiograph may show that is not a finding. Drawn alike for every class."""

import numpy as np

from train.phantom.frame import Field, Point, Stroke, blank, blob, paint


def distractors(rng: np.random.Generator) -> Field:
    """Attenuation of soft-tissue folds, small calcifications, ECG leads, a pacemaker or a line."""
    total = blank()
    for _ in range(int(rng.integers(0, 3))):
        total += _fold(rng)
    for _ in range(int(rng.integers(0, 3))):
        total += _calcification(rng)
    if rng.random() < 0.15:
        total += _leads(rng)
    device = rng.random()
    if device < 0.07:
        total += _pacemaker(rng)
    elif device < 0.17:
        total += _central_line(rng)
    return total


def _fold(rng: np.random.Generator) -> Field:
    """A wide, smooth haze, as bright as an infiltrate and without its texture."""
    centre = (rng.uniform(-0.75, 0.75), rng.uniform(-0.6, 0.6))
    radii = (rng.uniform(0.25, 0.55), rng.uniform(0.25, 0.5))
    return rng.uniform(0.04, 0.15) * blob(centre, radii, 0.95, rng.uniform(0.0, np.pi))


def _calcification(rng: np.random.Generator) -> Field:
    """A healed granuloma: round like a nodule, but tiny and dense."""
    centre = (rng.uniform(-0.75, 0.75), rng.uniform(-0.75, 0.45))
    radius = rng.uniform(0.010, 0.018)
    return rng.uniform(0.10, 0.25) * blob(centre, (radius, radius), 0.4)


def _leads(rng: np.random.Generator) -> Field:
    """Adhesive electrodes with a metal snap and a wire that leaves the picture."""
    total = blank()
    wires = []
    for x, y in ((-0.62, -0.52), (0.62, -0.50), (0.66, 0.48)):
        centre = (x + rng.normal(0.0, 0.07), y + rng.normal(0.0, 0.07))
        total += 0.05 * blob(centre, (0.07, 0.07), 0.10) + 0.45 * blob(centre, (0.022, 0.022), 0.2)
        end = (centre[0] * rng.uniform(0.3, 1.4), 1.5 if centre[1] > 0 else rng.choice([-1.5, 1.5]))
        wires.append(Stroke(_curve(centre, (float(end[0]), float(end[1])), rng), 0.010, 1.0))
    return total + 0.30 * paint(wires)


def _pacemaker(rng: np.random.Generator) -> Field:
    x, y = 0.58 + rng.normal(0.0, 0.05), -0.58 + rng.normal(0.0, 0.05)
    can = blob((x, y), (0.15, 0.12), 0.06, 0.2)
    heart = (0.22 + rng.normal(0.0, 0.05), 0.35 + rng.normal(0.0, 0.05))
    wire = _curve((x, y), (-0.06, -0.2), rng) + _curve((-0.06, -0.2), heart, rng)
    return 0.7 * can + 0.4 * paint([Stroke(wire, 0.016)]) * (1.0 - can)


def _central_line(rng: np.random.Generator) -> Field:
    side = rng.choice([-1.0, 1.0])
    start = (float(side) * rng.uniform(0.15, 0.5), -1.3)
    tip = (-0.08 + rng.normal(0.0, 0.02), rng.uniform(-0.25, 0.0))
    return 0.14 * paint(
        [Stroke(_curve(start, (-0.05, -0.6), rng) + _curve((-0.05, -0.6), tip, rng), 0.016)]
    )


def _curve(start: Point, end: Point, rng: np.random.Generator) -> list[Point]:
    """A quadratic Bezier curve through a random control point."""
    control = np.asarray([(start[0] + end[0]) / 2, (start[1] + end[1]) / 2]) + rng.normal(
        0.0, 0.08, 2
    )
    t = np.linspace(0.0, 1.0, 24)[:, None]
    points = (1 - t) ** 2 * np.asarray(start) + 2 * t * (1 - t) * control + t**2 * np.asarray(end)
    return [(float(x), float(y)) for x, y in points]
