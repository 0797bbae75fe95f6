import contextlib
import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.errors import (
    CorruptImageError,
    EmptyImageError,
    ImageError,
    ImageTooLargeError,
    ImageTooSmallError,
    UnsupportedImageError,
)
from model.image import DecodeRule, ImageLimits, check_pixels, decode, resize_pixels

RULE = DecodeRule(width_px=32, height_px=32)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def gradient(width: int, height: int) -> npt.NDArray[np.uint8]:
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return np.stack([x, y, (x + y) / 2], axis=2).astype(np.uint8)


def mean_difference(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_rgb_is_resized_to_the_rule(kind: str) -> None:
    pixels = gradient(100, 80)
    decoded = decode(encode(Image.fromarray(pixels), kind), RULE)
    assert decoded.pixels.shape == (32, 32, 3)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.width_px, decoded.height_px) == (100, 80)
    assert mean_difference(decoded.pixels, resize_pixels(pixels, RULE)) < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_grey_becomes_three_equal_channels(kind: str) -> None:
    grey = Image.fromarray(gradient(64, 64)[..., 0])
    pixels = decode(encode(grey, kind), RULE).pixels
    assert np.array_equal(pixels[..., 0], pixels[..., 1])
    assert np.array_equal(pixels[..., 0], pixels[..., 2])
    assert pixels[0, 0, 0] < 10
    assert pixels[0, -1, 0] > 245


def test_transparency_is_laid_over_black() -> None:
    rgba = np.full((40, 40, 4), 255, np.uint8)
    rgba[:, :20, 3] = 0
    pixels = decode(encode(Image.fromarray(rgba)), RULE).pixels
    assert pixels[16, 2].tolist() == [0, 0, 0]
    assert pixels[16, -2].tolist() == [255, 255, 255]


def test_grey_with_alpha_and_transparent_palette_are_laid_over_black() -> None:
    la = np.full((40, 40, 2), 255, np.uint8)
    la[..., 1] = 0
    assert decode(encode(Image.fromarray(la, "LA")), RULE).pixels.max() == 0
    palette = Image.new("P", (40, 40), 0)
    palette.putpalette([255, 255, 255, 200, 10, 10])
    assert decode(encode(palette, transparency=0), RULE).pixels.max() == 0
    assert decode(encode(palette), RULE).pixels.min() == 255


def test_cmyk_jpeg_has_the_right_colours() -> None:
    red = Image.new("RGB", (64, 64), (220, 30, 30))
    pixels = decode(encode(red.convert("CMYK"), "JPEG", quality=95), RULE).pixels
    assert mean_difference(pixels, np.full((32, 32, 3), (220, 30, 30), np.uint8)) < 4


def test_16_bit_png_spans_the_whole_range() -> None:
    deep = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = decode(encode(Image.fromarray(deep)), RULE).pixels
    expected = resize_pixels(
        np.repeat(np.rint(deep / 257).astype(np.uint8)[..., None], 3, axis=2), RULE
    )
    assert mean_difference(pixels, expected) < 1
    assert pixels.min() < 5
    assert pixels.max() > 250


def test_1_bit_png_is_black_and_white() -> None:
    image = Image.new("1", (40, 40), 1)
    assert decode(encode(image), RULE).pixels.min() == 255


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = gradient(96, 64)
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    decoded = decode(encode(image, kind, exif=exif), RULE, display_px=96)
    assert (decoded.width_px, decoded.height_px) == (96, 64)
    assert mean_difference(decoded.pixels, resize_pixels(upright, RULE)) < 3
    assert decoded.display is not None
    assert decoded.display.shape == (64, 96, 3)
    assert mean_difference(decoded.display, upright) < 3


def test_reduction_in_the_jpeg_decoder_keeps_the_pixels() -> None:
    data = encode(Image.fromarray(gradient(1024, 900)), "JPEG", quality=92)
    whole = Image.open(io.BytesIO(data)).convert("RGB")
    full = np.asarray(whole.resize((32, 32), Image.Resampling.BILINEAR))
    assert mean_difference(decode(data, RULE).pixels, full) < 1.0


def test_a_small_jpeg_is_not_reduced() -> None:
    pixels = gradient(48, 48)
    data = encode(Image.fromarray(pixels), "JPEG", quality=95)
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode(data, RULE).pixels, resize_pixels(whole, RULE))


def test_display_keeps_the_aspect_and_never_enlarges() -> None:
    data = encode(Image.fromarray(gradient(400, 100)))
    display = decode(data, RULE, display_px=200).display
    assert display is not None
    assert display.shape == (50, 200, 3)
    display = decode(data, RULE, display_px=4000).display
    assert display is not None
    assert display.shape == (100, 400, 3)
    assert decode(data, RULE).display is None


def test_asking_for_the_display_does_not_change_the_pixels() -> None:
    data = encode(Image.fromarray(gradient(900, 700)), "JPEG")
    plain, shown = decode(data, RULE), decode(data, RULE, display_px=512)
    assert np.array_equal(plain.pixels, shown.pixels)


def test_empty_is_named() -> None:
    with pytest.raises(EmptyImageError, match="0 bytes"):
        decode(b"", RULE)


@pytest.mark.parametrize("data", [b"hello world", b"GIF89a" + bytes(40), b"%PDF-1.7", b"\xff\xd8"])
def test_not_an_image_is_named_with_what_is_accepted(data: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match="accepted: JPEG, PNG, and DICOM"):
        decode(data, RULE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_a_truncated_image_is_corrupt(kind: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    with pytest.raises(CorruptImageError, match=f"damaged {kind}"):
        decode(data[: int(len(data) * share)], RULE)


def test_an_unreadable_header_is_named_without_addresses() -> None:
    with pytest.raises(CorruptImageError, match=r"damaged PNG image: unreadable header$"):
        decode(b"\x89PNG\r\n\x1a\n" + bytes(40), RULE)


def test_too_many_bytes_are_refused_unread() -> None:
    with pytest.raises(ImageTooLargeError, match=r"1,001 bytes; at most 1,000"):
        decode(bytes(1001), RULE, ImageLimits(max_bytes=1000))


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def test_a_decompression_bomb_is_refused_on_its_header() -> None:
    bomb = png_header(60_000, 60_000)
    with pytest.raises(ImageTooLargeError, match=r"60000 x 60000 = 3,600,000,000 pixels"):
        decode(bomb, RULE)


def test_the_pixel_limit_is_the_callers() -> None:
    data = encode(Image.fromarray(gradient(50, 40)))
    decode(data, RULE, ImageLimits(max_pixels=2000))
    with pytest.raises(ImageTooLargeError, match=r"2,000 pixels; at most 1,999"):
        decode(data, RULE, ImageLimits(max_pixels=1999))


def test_a_sliver_is_too_small() -> None:
    with pytest.raises(ImageTooSmallError, match="at least 8"):
        decode(encode(Image.new("RGB", (400, 7))), RULE)
    with pytest.raises(ImageTooSmallError):
        check_pixels(7, 400, ImageLimits())


def test_every_error_has_a_distinct_reason() -> None:
    def below(kind: type[ImageError]) -> list[type[ImageError]]:
        return [each for sub in kind.__subclasses__() for each in (sub, *below(sub))]

    kinds = below(ImageError)
    assert len({kind.reason for kind in kinds}) == len(kinds) == 9


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_give_pixels_or_an_image_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG"]))
    original = bytearray(encode(Image.fromarray(gradient(40, 40)), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(8, len(original) - 1))
        original[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        decoded = decode(bytes(original), RULE, ImageLimits(max_pixels=1_000_000))
        assert decoded.pixels.shape == (32, 32, 3)
