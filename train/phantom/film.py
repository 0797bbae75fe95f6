"""From attenuation to a picture: pose, exposure, noise, collimation, marker."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from train.phantom.frame import PX_PER_UNIT, X_MAX_UNITS, Y_MAX_UNITS, Field, step

Pixels = NDArray[np.uint8]

_MIDDLE_GREY = 128


@dataclass(frozen=True)
class View:
    """Where one exposure looks: picture size in pixels, field of view and centre in units."""

    width_px: int
    height_px: int
    fov_width: float
    centre: tuple[float, float]
    rotation_rad: float
    stretch: float


def sample_view(rng: np.random.Generator, min_size_px: int, max_size_px: int) -> View:
    """Sizes mostly in the lower half of the range, a few at its end; aspect ratios 0.80 to 1.15."""
    usual = np.exp(rng.normal(np.log(1.7 * min_size_px), 0.26))
    rare = rng.uniform(0.75 * max_size_px, 1.1 * max_size_px)
    long_px = rare if rng.random() < 0.035 else usual
    aspect = rng.uniform(0.80, 1.15)
    width = long_px * min(1.0, aspect)
    height = long_px * min(1.0, 1.0 / aspect)
    fov_width = max(1.88, 1.93 * aspect) * rng.uniform(0.98, 1.10)
    return View(
        width_px=int(np.clip(round(width), min_size_px, max_size_px)),
        height_px=int(np.clip(round(height), min_size_px, max_size_px)),
        fov_width=fov_width,
        centre=(rng.normal(0.0, 0.03), -0.06 + rng.normal(0.0, 0.03)),
        rotation_rad=float(np.clip(rng.normal(0.0, 0.03), -0.08, 0.08)),
        stretch=rng.uniform(0.95, 1.05),
    )


def expose(attenuation: Field, view: View, rng: np.random.Generator) -> Image.Image:
    """8-bit grey, of the view's size: what a detector and its processing make of `attenuation`."""
    toned = _tone(_sharpen(attenuation, rng.uniform(0.2, 1.0)), rng)
    frame = _project(toned, view, Image.Resampling.BICUBIC, detail=rng.uniform(0.75, 1.25))
    # Eight bits throughout, in PIL: four times as fast as float arrays, and the grain dithers.
    frame = ImageChops.add(frame, _grain(view, rng), offset=-_MIDDLE_GREY)
    if rng.random() < 0.35:
        frame = _collimate(frame, rng)
    if rng.random() < 0.85:
        _mark(frame, rng)
    return frame


def project_mask(mask: NDArray[np.bool_], view: View) -> Image.Image:
    """The mask as the view sees it: 8-bit grey, 255 inside."""
    soft = _project(mask * np.uint8(255), view, Image.Resampling.BILINEAR, detail=1.0)
    return soft.point([0] * 128 + [255] * 128)


def _project(pixels: Pixels, view: View, resample: Image.Resampling, detail: float) -> Image.Image:
    """Rotate, scale and crop the patient frame to the picture.

    The rotation is done at `detail` times the resolution of the frame, which also sets how sharp
    the picture is; the separable resize that follows is much cheaper.
    """
    scale = min(1.0, detail * PX_PER_UNIT * view.fov_width / view.width_px)
    width, height = round(view.width_px * scale), round(view.height_px * scale)
    step_x = PX_PER_UNIT * view.fov_width / width
    step_y = PX_PER_UNIT * view.fov_width / view.width_px * view.height_px / height * view.stretch
    cos, sin = np.cos(view.rotation_rad), np.sin(view.rotation_rad)
    matrix = np.asarray([[cos * step_x, -sin * step_y], [sin * step_x, cos * step_y]])
    origin = (np.asarray([X_MAX_UNITS, Y_MAX_UNITS]) + view.centre) * PX_PER_UNIT
    offset = origin - matrix @ (width / 2, height / 2)
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])
    turned = Image.fromarray(pixels).transform(
        (width, height), Image.Transform.AFFINE, coefficients, resample
    )
    return turned.resize((view.width_px, view.height_px), resample)


def _sharpen(attenuation: Field, amount: float) -> Field:
    """Unsharp masking, as every digital detector does: lifts bones and vessels out of the haze."""
    height, width = attenuation.shape
    image = Image.fromarray(attenuation)
    coarse = image.resize((width // 16, height // 16), Image.Resampling.BOX)
    local_mean = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    sharp: Field = attenuation + amount * (attenuation - local_mean)
    return sharp


def _tone(attenuation: Field, rng: np.random.Generator) -> Pixels:
    """A film-like curve: random black point, white point, gamma and shoulder."""
    black, white = rng.uniform(0.0, 0.10), rng.uniform(0.86, 1.08)
    levels = np.linspace(0.0, 1.0, 1024) ** np.exp(rng.uniform(-0.30, 0.30))
    shoulder = rng.uniform(0.1, 0.7)
    levels = (1 - shoulder) * levels + shoulder * step(levels - 0.5, 1.0)
    levels = rng.uniform(0.0, 0.04) + levels * rng.uniform(0.86, 0.96)
    position = np.clip((attenuation - black) * (1023.0 / (white - black)), 0.0, 1023.0)
    grey: Pixels = np.rint(255.0 * levels).astype(np.uint8)[position.astype(np.int32)]
    return grey


def _grain(view: View, rng: np.random.Generator) -> Image.Image:
    """Quantum noise around middle grey, correlated over a pixel or two."""
    coarseness = rng.uniform(1.0, 2.0)
    size = (max(1, round(view.width_px / coarseness)), max(1, round(view.height_px / coarseness)))
    noise = rng.standard_normal((size[1], size[0]), dtype=np.float32)
    noise *= rng.uniform(0.8, 4.5)
    noise += _MIDDLE_GREY + 0.5
    grain = Image.fromarray(noise.astype(np.uint8))
    return grain.resize((view.width_px, view.height_px), Image.Resampling.BILINEAR)


def _collimate(frame: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shutters: a slightly turned frame around the exposed field, black or (inverted) white."""
    width, height = frame.size
    low, high = 0.005, 0.045
    left, right = width * rng.uniform(low, high), width * (1 - rng.uniform(low, high))
    top, bottom = height * rng.uniform(low, high), height * (1 - rng.uniform(low, high))
    skew = rng.normal(0.0, 0.006)
    dx, dy = height * skew, width * skew
    shutter = Image.new("L", frame.size)
    corners = [(left + dx, top), (right, top + dy), (right - dx, bottom), (left, bottom - dy)]
    ImageDraw.Draw(shutter).polygon(corners, fill=255)
    border = Image.new("L", frame.size, int(rng.integers(0, 12)) if rng.random() < 0.85 else 235)
    return Image.composite(frame, border, shutter.filter(ImageFilter.BoxBlur(width / 800)))


def _mark(frame: Image.Image, rng: np.random.Generator) -> None:
    """A lead letter on the side it names. Drawn by hand: fonts differ from machine to machine."""
    width, height = frame.size
    letter = "R" if rng.random() < 0.5 else "L"
    strokes: dict[str, list[list[tuple[float, float]]]] = {
        "L": [[(0, 0), (0, 1), (0.6, 1)]],
        "R": [
            [(0, 1), (0, 0), (0.45, 0), (0.6, 0.12), (0.6, 0.38), (0.45, 0.5), (0, 0.5)],
            [(0.3, 0.5), (0.62, 1)],
        ],
    }
    size = rng.uniform(0.030, 0.048) * width
    x = width * (rng.uniform(0.055, 0.085) if letter == "R" else rng.uniform(0.88, 0.91))
    y = height * rng.uniform(0.055, 0.14)
    draw = ImageDraw.Draw(frame)
    for stroke in strokes[letter]:
        points = [(x + size * u, y + size * v) for u, v in stroke]
        draw.line(
            points,
            fill=int(rng.integers(215, 256)),
            width=max(1, round(size * 0.16)),
            joint="curve",
        )
