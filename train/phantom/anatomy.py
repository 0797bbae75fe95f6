"""What makes one patient's chest differ from another's, and the outlines that follow from it."""

from dataclasses import dataclass

import numpy as np

from train.phantom.frame import Field, grid


@dataclass(frozen=True)
class Anatomy:
    """What one patient's images share: lengths in units, sides as (left, right) of the picture."""

    chest_half_width: float
    apex_y: float
    dome_y: tuple[float, float]
    dome_x: float
    wall: float
    shoulder_y: float
    heart_size: float
    heart_x: float
    mediastinum_half_width: float
    knob: float
    spine_x: float
    scoliosis: float
    rib_drop: float
    rib_pitch: float
    rib_width: float
    rib_density: float
    clavicle_tilt: tuple[float, float]
    clavicle_y: float
    scapula: float
    breast: float
    breast_y: float
    gas: float
    vascularity: float
    density: float


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a patient."""
    u = rng.uniform
    right_dome_y = u(0.42, 0.66)
    return Anatomy(
        chest_half_width=u(0.74, 0.88),
        apex_y=u(-0.98, -0.86),
        dome_y=(right_dome_y, right_dome_y + u(0.01, 0.09)),
        dome_x=u(0.34, 0.44),
        wall=u(0.07, 0.19),
        shoulder_y=u(-1.12, -0.98),
        heart_size=u(0.84, 1.18),
        heart_x=u(-0.05, 0.07),
        mediastinum_half_width=u(0.11, 0.17),
        knob=u(0.85, 1.2),
        spine_x=u(-0.03, 0.03),
        scoliosis=u(-0.04, 0.04),
        rib_drop=u(0.42, 0.62),
        rib_pitch=u(0.150, 0.180),
        rib_width=u(0.044, 0.058),
        rib_density=u(0.6, 1.15),
        clavicle_tilt=(u(0.02, 0.2), u(0.02, 0.2)),
        clavicle_y=u(-0.76, -0.64),
        scapula=u(0.0, 0.07),
        breast=u(0.04, 0.13) if rng.random() < 0.45 else 0.0,
        breast_y=u(0.28, 0.5),
        gas=u(0.1, 0.28) if rng.random() < 0.6 else 0.0,
        vascularity=u(0.7, 1.3),
        density=u(0.92, 1.08),
    )


def cage(a: Anatomy, y: Field) -> tuple[Field, Field]:
    """Medial and lateral border of the lungs at each height, as distances from the midline."""
    t = np.clip((y - a.apex_y) / (0.55 - a.apex_y), 0.0, 1.0)
    apex_x = 0.38
    lateral = apex_x + (a.chest_half_width - apex_x) * np.sqrt(1.0 - (1.0 - t) ** 2.6)
    lateral -= 0.05 * np.clip((y - 0.45) / 0.5, 0.0, 1.0) ** 2
    inner = a.mediastinum_half_width - 0.03
    medial = apex_x - (apex_x - inner) * np.sqrt(1.0 - (1.0 - np.clip(1.6 * t, 0.0, 1.0)) ** 2.8)
    return medial.astype(np.float32), lateral.astype(np.float32)


def dome(a: Anatomy) -> Field:
    """Height of the diaphragm under every column."""
    x, _ = grid()
    top = np.where(x < 0, a.dome_y[0], a.dome_y[1])
    away = (np.abs(x) - a.dome_x) / 0.43
    return (top + np.where(away > 0, 0.30, 0.16) * np.abs(away) ** 2.1).astype(np.float32)
