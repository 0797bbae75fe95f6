"""Compressed pixel data of DICOM files: decoders that a damaged stream cannot bring down.

pydicom's own plugins for lossless JPEG and JPEG-LS either crash the process on damaged streams or
may not be shipped under this project's licence. Here libjpeg-turbo, CharLS and OpenJPEG do the
work, through `imagecodecs`, and Pillow for baseline JPEG; and only after the stream has stated the
size that the file states: their memory is what the limits on an image allow. pydicom calls this
module as a plugin.
"""

import struct
from typing import Any, NamedTuple

import numpy as np
from pydicom import uid
from pydicom.pixels.decoders import pillow

PLUGIN = "sightline"

JPEG = frozenset({uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1})
JPEG_LS = frozenset({uid.JPEGLSLossless, uid.JPEGLSNearLossless})
JPEG_2000 = frozenset(
    {
        uid.JPEG2000Lossless,
        uid.JPEG2000,
        uid.HTJ2KLossless,
        uid.HTJ2KLosslessRPCL,
        uid.HTJ2K,
    }
)
# What pydicom looks up when a plugin is not available; this one always is.
DECODER_DEPENDENCIES = {
    **dict.fromkeys((*JPEG, *JPEG_LS, *JPEG_2000, uid.RLELossless), ("imagecodecs",)),
    uid.JPEGBaseline8Bit: ("pillow",),
}

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_J2K_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\x00\x00\x00\x0cjP  "
_SOS = 0xDA
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xF7})
_RLE_HEADER = struct.Struct("<16L")
_RLE_PADDING = 128


class StreamSize(NamedTuple):
    """What a stream says of its picture."""

    rows: int
    columns: int
    samples: int


def is_available(syntax: str) -> bool:
    return syntax in DECODER_DEPENDENCIES


def decode_frame(source: bytes, runner: Any) -> bytes | bytearray:
    """Decode one frame; called by pydicom.

    Args:
        source: the frame's stream.
        runner: pydicom's `DecodeRunner`: what the file says, and how the result is to be read.

    Raises:
        ValueError: the stream is not what the file says, or is cut short.
        Exception: whatever the codec raises for damage.
    """
    import imagecodecs

    syntax = runner.transfer_syntax
    if syntax == uid.RLELossless:
        return _rle(source, runner)
    if syntax in JPEG_2000 and source.startswith(_JP2_START):
        # Some writers wrap the stream in a file of its own, against PS3.5 A.4.4.
        source = source[source.find(_J2K_START) :]
    check_size(source, runner)
    if syntax == uid.JPEGBaseline8Bit:
        return pillow._decode_frame(source, runner)
    if syntax in JPEG_2000:
        pixels = imagecodecs.jpeg2k_decode(source)
        if runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
            runner.set_option("photometric_interpretation", "RGB")
    elif syntax in JPEG_LS:
        _check_end(source)
        pixels = imagecodecs.jpegls_decode(source)
    else:
        pixels = _jpeg(imagecodecs, source, runner.samples_per_pixel)
    runner.set_option("bits_allocated", pixels.dtype.itemsize * 8)
    runner.set_option("planar_configuration", 0)
    return np.ascontiguousarray(pixels).tobytes()


def check_size(source: bytes, runner: Any) -> None:
    """Refuse a stream whose picture is not of the size that the file has, before decoding it.

    Raises:
        ValueError: it is another, or the stream has no readable header.
    """
    stated = StreamSize(runner.rows, runner.columns, runner.samples_per_pixel)
    if stream_size(source) != stated:
        raise ValueError("the compressed stream is not of the size that the file states")


def stream_size(source: bytes) -> StreamSize | None:
    """The size in the header of a JPEG, JPEG-LS or JPEG 2000 stream; None without such a header."""
    if source.startswith(_J2K_START):
        if len(source) < 42:
            return None
        width, height, left, top = struct.unpack_from(">4I", source, 8)
        return StreamSize(height - top, width - left, struct.unpack_from(">H", source, 40)[0])
    if not source.startswith(_SOI):
        return None
    found: StreamSize | None = None
    position = len(_SOI)
    while position + 9 < len(source) and source[position] == 0xFF:
        marker = source[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == _SOS:
            return found
        if marker in _FRAMES:
            if found is not None:
                return None
            found = StreamSize(*struct.unpack_from(">HHB", source, position + 5))
        position += 2 + int(struct.unpack_from(">H", source, position + 2)[0])
    return None


def _jpeg(imagecodecs: Any, source: bytes, samples: int) -> Any:
    _check_end(source)
    # The components as they are: pydicom converts them as the file says.
    space = "RGB" if samples == 3 else "GRAYSCALE"
    return imagecodecs.jpeg8_decode(source, colorspace=space, outcolorspace=space)


def _check_end(source: bytes) -> None:
    # libjpeg fills up what is missing with grey and does not say so, and CharLS searches for the
    # end where none is: seconds for a small picture.
    if not source.rstrip(b"\0\xff").endswith(_EOI):
        raise ValueError("the stream is cut short")


def _rle(source: bytes, runner: Any) -> bytearray:
    import imagecodecs

    count, *offsets = _RLE_HEADER.unpack_from(source)
    width_bytes = runner.bits_allocated // 8
    if count != runner.samples_per_pixel * width_bytes:
        raise ValueError("the RLE frame has another number of segments than the file's samples")
    ends = [*offsets[1:count], len(source)]
    pixels = runner.rows * runner.columns
    planes = np.empty((runner.samples_per_pixel, pixels, width_bytes), np.uint8)
    for segment, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        # Bounded, however much the segment would unpack to; some writers pad it by a run.
        unpacked = imagecodecs.packbits_decode(source[start:end], out=pixels + _RLE_PADDING)
        if len(unpacked) < pixels:
            raise ValueError("an RLE segment is cut short")
        sample, byte = divmod(segment, width_bytes)
        # The most significant byte comes first; the result is little-endian.
        planes[sample, :, width_bytes - 1 - byte] = np.frombuffer(unpacked, np.uint8, pixels)
    runner.set_option("planar_configuration", 1)
    return bytearray(planes.tobytes())
