"""DICOM files to 8-bit pictures, by a rule that is written into the bundle.

Only the elements that make up the picture are read; nothing about the patient ever leaves the
file, not even in an error. Errors name transfer syntaxes, SOP classes, counts and sizes,
and the start of a photometric interpretation or VOI LUT function that is unknown.
"""

import io
import logging
import threading
import warnings
import zlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model.errors import (
    CorruptImageError,
    ImageError,
    ImageTooLargeError,
    MultiFrameError,
    NonImageError,
    NoPixelsError,
    TransferSyntaxError,
    UnsupportedImageError,
)
from model.greyscale import DicomRule, Stored, grey_table, look_up, possible

if TYPE_CHECKING:
    from pydicom import Dataset

MAGIC = b"DICM"
MAGIC_AT = 128

_IMPORTING = threading.Lock()

_DEFLATED = "1.2.840.10008.1.2.1.99"
_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", _DEFLATED}

# They have rows and columns, and no picture in them.
_NO_PICTURE = {
    "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
}
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PALETTE = "PALETTE COLOR"

_ELEMENTS = (
    "SOPClassUID", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "ModalityLUTSequence", "RescaleIntercept",
    "RescaleSlope", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData", "PixelData",
)  # fmt: skip


def is_dicom(data: bytes | memoryview) -> bool:
    """Whether it is a DICOM file of PS3.10: a preamble of 128 bytes and `DICM`.

    A bare data set without them cannot be told from any other bytes, and is no DICOM file here.
    """
    return bytes(data[MAGIC_AT : MAGIC_AT + len(MAGIC)]) == MAGIC


def render(
    data: bytes | memoryview,
    rule: DicomRule,
    max_bytes: int,
    check_size: Callable[[int, int], None],
) -> npt.NDArray[np.uint8]:
    """The picture in a file, uint8 [rows, columns] if it is grey, else [rows, columns, 3].

    Args:
        data: the file; :func:`is_dicom` holds.
        rule: of the bundle.
        max_bytes: most that a deflated file may inflate to.
        check_size: called with rows and columns before the pixels are decoded; raises if they
            are too many or too few.

    Raises:
        ImageError: one of its kinds.
    """
    _import()
    try:
        syntax, dataset = _read(data, max_bytes)
        _check_kind(dataset)
        check_size(int(dataset.Rows), int(dataset.Columns))
        pixels = _decode(dataset, syntax)
        photometric = dataset.PhotometricInterpretation
        if photometric in _GREY:
            return look_up(grey_table(pixels, dataset, rule), pixels)
        if photometric == _PALETTE:
            return look_up(_palette(pixels, dataset), pixels)
        return _to_8_bits(pixels, int(dataset.BitsStored))
    except ImageError:
        raise
    except Exception:  # noqa: BLE001 - a parser on foreign bytes; its messages may quote them
        raise CorruptImageError("damaged DICOM file: an element is missing or unreadable") from None


def _import() -> None:
    # Threads decode; the first of them has to have finished before the next goes on.
    with _IMPORTING:
        _import_once()


@cache
def _import_once() -> None:
    """Load pydicom, register our decoders, and keep its warnings, which quote elements, quiet."""
    from pydicom.pixels.decoders.base import get_decoder

    from model import codestream

    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom\b")
    for syntax in codestream.DECODER_DEPENDENCIES:
        get_decoder(syntax).add_plugin(codestream.PLUGIN, (codestream.__name__, "decode_frame"))


def _read(data: bytes | memoryview, max_bytes: int) -> tuple[str, "Dataset"]:
    from pydicom.filereader import read_dataset
    from pydicom.tag import Tag
    from pydicom.uid import UID

    stream = io.BytesIO(data)
    stream.seek(MAGIC_AT + len(MAGIC))
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    syntax = UID(meta.get("TransferSyntaxUID") or "")
    if not syntax:
        raise CorruptImageError("damaged DICOM file: it states no transfer syntax")
    if syntax not in _NATIVE and not _plugin(syntax):
        raise TransferSyntaxError(f"DICOM transfer syntax {_name(syntax)} is not decoded here")
    if syntax == _DEFLATED:
        stream = io.BytesIO(_inflate(stream.read(), max_bytes))
    dataset = read_dataset(
        stream,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        specific_tags=[Tag(keyword) for keyword in _ELEMENTS],
    )
    return syntax, dataset


def _inflate(data: bytes, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, max_bytes + 1)
    except zlib.error:
        raise CorruptImageError("damaged DICOM file: it cannot be inflated") from None
    if len(inflated) > max_bytes:
        raise ImageTooLargeError(
            f"deflated DICOM file has more than {max_bytes:,} bytes when inflated; at most "
            f"{max_bytes:,} are accepted"
        )
    return inflated


def _check_kind(dataset: "Dataset") -> None:
    """Refuse, by name, what is no single picture."""
    kind = dataset.get("SOPClassUID")
    name = _name(kind) if kind else "DICOM object without a SOP class"
    if kind in _NO_PICTURE:
        raise NonImageError(f"{name} is not an image")
    if "PixelData" not in dataset:
        if "Rows" in dataset or (kind and "Image Storage" in name):
            raise NoPixelsError(f"{name} has no pixel data, or is cut short before it")
        raise NonImageError(f"{name} is not an image: it has no pixel data")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise MultiFrameError(f"{name} has {frames} frames; exactly one is accepted")
    photometric, samples = dataset.PhotometricInterpretation, int(dataset.SamplesPerPixel)
    if photometric not in (*_GREY, *_COLOUR, _PALETTE):
        accepted = ", ".join((*_GREY, *_COLOUR, _PALETTE))
        raise UnsupportedImageError(
            f"{name} has photometric interpretation {str(photometric)[:20]!r}; accepted: {accepted}"
        )
    if samples != (3 if photometric in _COLOUR else 1):
        raise CorruptImageError(
            f"damaged DICOM file: {samples} samples per pixel do not make {photometric}"
        )
    allocated = int(dataset.BitsAllocated)
    if allocated not in (8, 16):
        raise UnsupportedImageError(
            f"{name} has {allocated} bits allocated per sample; accepted: 8, 16"
        )


def _decode(dataset: "Dataset", syntax: str) -> Stored:
    """The stored values, [rows, columns] or, of colour and as RGB, [rows, columns, 3]."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    try:
        pixels, _ = get_decoder(syntax).as_array(dataset, index=0, decoding_plugin=_plugin(syntax))
    except Exception:  # noqa: BLE001 - see render()
        raise CorruptImageError(
            f"damaged DICOM file: the pixel data ({_name(syntax)}) is cut short, or is not what "
            "its header says"
        ) from None
    if pixels.dtype.itemsize > 2:
        raise CorruptImageError("damaged DICOM file: the pixel data has more than 16 bits")
    native: Stored = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return native


def _plugin(syntax: str) -> str:
    """The decoder of a transfer syntax: always the same, so that lossy pictures are, too."""
    from model import codestream

    return codestream.PLUGIN if codestream.is_available(syntax) else ""


def _palette(pixels: Stored, dataset: "Dataset") -> npt.NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_color_lut

    colours = apply_color_lut(possible(pixels), dataset)[:, :3]
    return (colours >> 8).astype(np.uint8) if colours.dtype.itemsize == 2 else colours


def _to_8_bits(pixels: Stored, bits: int) -> npt.NDArray[np.uint8]:
    if bits == 8 and pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if pixels.dtype.kind != "u":
        raise UnsupportedImageError("DICOM colour image has signed samples; accepted: unsigned")
    table = np.clip(np.arange(2 ** (8 * pixels.dtype.itemsize)) / (2**bits - 1), 0.0, 1.0)
    return look_up(np.rint(table * 255.0).astype(np.uint8), pixels)


def _name(identifier: Any) -> str:
    """A UID's name in the standard, else the UID itself."""
    from pydicom.uid import UID

    known = UID(str(identifier))
    return known.name if known.is_valid else "of an invalid UID"
