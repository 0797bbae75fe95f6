"""Bytes to pixels: the one decode and resize of the project.

Training, calibration, evaluation and serving all call :func:`decode`, and the rule it follows is
written into the bundle, so the pixels a model is served with are the pixels it was trained on.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from model import dicom
from model.errors import (
    CorruptImageError,
    EmptyImageError,
    ImageTooLargeError,
    ImageTooSmallError,
    UnsupportedImageError,
)
from model.greyscale import DicomRule

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG")
# Of the files that are looked for in a folder.
SUFFIXES = (".jpg", ".jpeg", ".png", ".dcm", ".dicom")
MIN_SIDE_PX = 8

# Our limits are checked on the header, before any pixel is allocated, and they are the caller's to
# set; Pillow's own process-wide limit would only warn, or refuse what the caller has allowed.
Image.MAX_IMAGE_PIXELS = None

_MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}
_EXIF_ORIENTATION = 0x0112
_TRANSPOSED = frozenset({5, 6, 7, 8})
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


class DecodeRule(BaseModel):
    """How an image becomes the network's input. Part of the manifest; never inferred.

    The image is stretched to `width_px` x `height_px` with an antialiased filter. A JPEG of at
    least `reduce_margin` times that size is first reduced by its decoder (DCT scaling) while it
    stays at least `reduce_margin` times the target, which costs a fraction of a full decode and
    differs from it by less than one grey level on average.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width_px: int = Field(ge=16, le=4096)
    height_px: int = Field(ge=16, le=4096)
    resize: Literal["stretch"] = "stretch"
    filter: Literal["bilinear"] = "bilinear"
    reduce_margin: float = Field(default=2.0, ge=2.0, le=8.0)
    alpha: Literal["over_black"] = "over_black"
    orientation: Literal["exif"] = "exif"
    dicom: DicomRule = DicomRule()


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Upper bounds on one encoded image, checked before its pixels are allocated."""

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 64_000_000


DEFAULT_LIMITS = ImageLimits()


class Decoded(NamedTuple):
    """One image as the network sees it.

    Attributes:
        pixels: uint8 [H, W, 3], of the rule's size.
        display: uint8 [h, w, 3] with the original's aspect ratio, if it was asked for.
        width_px: width of the original after EXIF orientation.
        height_px: height of the original after EXIF orientation.
    """

    pixels: Pixels
    display: Pixels | None
    width_px: int
    height_px: int


def decode(
    data: bytes | memoryview,
    rule: DecodeRule,
    limits: ImageLimits = DEFAULT_LIMITS,
    *,
    display_px: int | None = None,
) -> Decoded:
    """Turn an encoded JPEG, PNG or DICOM file into the network's input.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB; transparency is laid over black; the
    EXIF orientation is applied; DICOM follows :class:`model.greyscale.DicomRule`.

    Args:
        data: the encoded file.
        rule: the decode rule of the bundle.
        limits: bounds on bytes and pixels.
        display_px: also return the image with its longest side at most this, for a picture.

    Raises:
        ImageError: one of its kinds, saying what is wrong with the bytes.
    """
    _check_bytes(data, limits)
    if dicom.is_dicom(data):
        return _decode_dicom(data, rule, limits, display_px)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width_px, height_px, turned = _check_size(image, limits)
            target = (rule.width_px, rule.height_px)
            _reduce_in_decoder(image, target[::-1] if turned else target, rule.reduce_margin)
            rgb = _rgb(image)
    except (EmptyImageError, ImageTooLargeError, ImageTooSmallError):
        raise
    except UnidentifiedImageError as error:
        # Pillow's message would name the address of a buffer.
        raise CorruptImageError(f"damaged {_format(data)} image: unreadable header") from error
    except _DAMAGE as error:
        raise CorruptImageError(f"damaged {_format(data)} image: {error}") from error
    pixels = _resize(rgb, target, rule.reduce_margin)
    display = None
    if display_px is not None:
        display = np.asarray(_fit(rgb, (width_px, height_px), display_px))
    return Decoded(np.asarray(pixels), display, width_px, height_px)


def _decode_dicom(
    data: bytes | memoryview, rule: DecodeRule, limits: ImageLimits, display_px: int | None
) -> Decoded:
    def check_size(rows: int, columns: int) -> None:
        check_pixels(rows, columns, limits)

    image = Image.fromarray(dicom.render(data, rule.dicom, limits.max_bytes, check_size))
    pixels = _resize(image, (rule.width_px, rule.height_px), rule.reduce_margin).convert("RGB")
    display = None
    if display_px is not None:
        display = np.asarray(_fit(image, image.size, display_px).convert("RGB"))
    return Decoded(np.asarray(pixels), display, image.width, image.height)


def resize_pixels(pixels: Pixels, rule: DecodeRule) -> Pixels:
    """Bring decoded RGB of any size, uint8 [h, w, 3], to the rule's size by the same filter."""
    if pixels.shape[:2] == (rule.height_px, rule.width_px):
        return pixels
    image = Image.fromarray(pixels)
    return np.asarray(_resize(image, (rule.width_px, rule.height_px), rule.reduce_margin))


def check_pixels(height_px: int, width_px: int, limits: ImageLimits) -> None:
    """Refuse a raw image of a size that :func:`decode` would refuse too."""
    if width_px * height_px > limits.max_pixels:
        raise ImageTooLargeError(
            f"image is {width_px} x {height_px} = {width_px * height_px:,} pixels; "
            f"at most {limits.max_pixels:,} are accepted"
        )
    if min(width_px, height_px) < MIN_SIDE_PX:
        raise ImageTooSmallError(
            f"image is {width_px} x {height_px} pixels; "
            f"each side must have at least {MIN_SIDE_PX} pixels"
        )


def _check_bytes(data: bytes | memoryview, limits: ImageLimits) -> None:
    if len(data) == 0:
        raise EmptyImageError("image is empty (0 bytes); a JPEG, PNG or DICOM file is expected")
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            f"image has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted"
        )
    if _format(data) == "unknown" and not dicom.is_dicom(data):
        start = bytes(data[:8]).hex(" ")
        raise UnsupportedImageError(
            f"not a JPEG, PNG or DICOM file: the first bytes are {start}; accepted: JPEG, PNG, "
            "and DICOM with its preamble"
        )


def _format(data: bytes | memoryview) -> str:
    head = bytes(data[:8])
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "unknown")


def _check_size(image: Image.Image, limits: ImageLimits) -> tuple[int, int, bool]:
    check_pixels(image.height, image.width, limits)
    turned = image.getexif().get(_EXIF_ORIENTATION, 1) in _TRANSPOSED
    width_px, height_px = (image.height, image.width) if turned else image.size
    return width_px, height_px, turned


def _reduce_in_decoder(image: Image.Image, target: tuple[int, int], margin: float) -> None:
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (int(target[0] * margin), int(target[1] * margin)))


def _rgb(image: Image.Image) -> Image.Image:
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        return _from_16_bit(upright)
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, rgba).convert("RGB")
    return upright.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    # A 16-bit PNG spans 0..65535 by definition; Pillow's own conversion would clip at 255.
    grey = np.asarray(image).astype(np.float32) / 257.0
    return Image.fromarray(np.rint(grey.clip(0, 255)).astype(np.uint8)).convert("RGB")


def _resize(image: Image.Image, size: tuple[int, int], margin: float) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=margin)


def _fit(image: Image.Image, original: tuple[int, int], longest_px: int) -> Image.Image:
    scale = min(longest_px / max(original), max(image.size) / max(original), 1.0)
    size = (max(1, round(original[0] * scale)), max(1, round(original[1] * scale)))
    return image if size == image.size else _resize(image, size, 2.0)
