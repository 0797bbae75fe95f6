"""Stored grey values of a DICOM image to what a screen shows, by the pipeline of PS3.3 C.11.

Stored value, modality LUT or rescale, VOI LUT or window, inversion of MONOCHROME1. There are at
most 65,536 stored values, so all of it is one table.
"""

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from model.errors import CorruptImageError, UnsupportedImageError

if TYPE_CHECKING:
    from pydicom import Dataset

Values = npt.NDArray[np.float64]
Stored = npt.NDArray[np.integer]

_COUNTED_AT_ONCE = 1 << 18


class DicomRule(BaseModel):
    """How a DICOM image becomes 8-bit grey or RGB. Part of the decode rule.

    The first VOI LUT is applied, else the first window (one of a width below 1 counts as none).
    Without either, images of more than 8 stored bits are stretched between two percentiles of
    their values, pixel padding left out; those of up to 8 bits keep their full range. MONOCHROME1
    is inverted. Pixels need not be square: the resize to the network's input does not keep
    the aspect either.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    voi: Literal["first_lut_or_window"] = "first_lut_or_window"
    without_voi: Literal["percentiles"] = "percentiles"
    low_percentile: float = Field(default=0.5, ge=0.0, le=50.0)
    high_percentile: float = Field(default=99.5, ge=50.0, le=100.0)


def grey_table(pixels: Stored, dataset: "Dataset", rule: DicomRule) -> npt.NDArray[np.uint8]:
    """What each stored value is shown as, by its bits as an unsigned number."""
    stored = possible(pixels)
    values = _modality(stored.astype(np.float64), dataset)
    shown = _voi(values, dataset)
    if shown is None:
        shown = _stretched(values, stored, pixels, dataset, rule)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1.0 - shown
    return np.rint(shown * 255.0).astype(np.uint8)


def _modality(stored: Values, dataset: "Dataset") -> Values:
    if dataset.get("ModalityLUTSequence"):
        return _lut(stored, dataset.ModalityLUTSequence[0], dataset)[0]
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        return stored
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise CorruptImageError("damaged DICOM file: the rescale slope or intercept is no number")
    return stored * float(slope) + float(intercept)


def _voi(values: Values, dataset: "Dataset") -> Values | None:
    """Values as brightness from 0 to 1; None if the file has no VOI LUT and no window."""
    if dataset.get("VOILUTSequence"):
        shown, bits = _lut(np.rint(values), dataset.VOILUTSequence[0], dataset)
        return _clipped(shown / (2**bits - 1))
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is None or width is None or not width >= 1 or not math.isfinite(centre + width):
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if function == "LINEAR":
        if width == 1:
            return np.where(values > centre - 0.5, 1.0, 0.0)
        return _clipped((values - (centre - 0.5)) / (width - 1.0) + 0.5)
    if function == "LINEAR_EXACT":
        return _clipped((values - centre) / width + 0.5)
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -500.0, 500.0)))
    raise UnsupportedImageError(
        f"DICOM VOI LUT function is {function[:20]!r}; accepted: LINEAR, LINEAR_EXACT, SIGMOID"
    )


def _stretched(
    values: Values,
    stored: Stored,
    pixels: Stored,
    dataset: "Dataset",
    rule: DicomRule,
) -> Values:
    bits = int(dataset.BitsStored)
    if bits <= 8:
        first = -(2 ** (bits - 1)) if stored.dtype.kind == "i" else 0
        span = values[(stored >= first) & (stored < first + 2**bits)]
        low, high = span.min(), span.max()
    else:
        low, high = _percentiles(values, stored, pixels, dataset, rule)
    return _clipped((values - low) / max(high - low, 1e-9))


def _clipped(shown: Values) -> Values:
    return shown.clip(0.0, 1.0)


def _percentiles(
    values: Values,
    stored: Stored,
    pixels: Stored,
    dataset: "Dataset",
    rule: DicomRule,
) -> tuple[float, float]:
    counts = _counts(pixels.view(unsigned(pixels)).ravel(), len(stored))
    padding = _first(dataset.get("PixelPaddingValue"))
    if padding is not None:
        kept = np.where(stored == padding, 0, counts)
        counts = kept if kept.any() else counts
    order = np.argsort(values, kind="stable")
    below = np.cumsum(counts[order])
    shares = np.array([rule.low_percentile, rule.high_percentile]) / 100.0
    # The value of the image's pixel that has this share of the pixels below it.
    at = np.searchsorted(below, np.ceil(shares * (below[-1] - 1)), side="right")
    low, high = values[order][at]
    return float(low), float(high)


def _counts(numbers: npt.NDArray[np.unsignedinteger], size: int) -> npt.NDArray[np.int64]:
    """How often each number below `size` occurs."""
    counts = np.zeros(size, np.int64)
    # bincount makes 8 bytes of every pixel.
    for start in range(0, len(numbers), _COUNTED_AT_ONCE):
        counts += np.bincount(numbers[start : start + _COUNTED_AT_ONCE], minlength=size)
    return counts


def _lut(values: Values, item: Any, dataset: "Dataset") -> tuple[Values, int]:
    """Values through a LUT of PS3.3 C.11.1.1.1, and the bits of its entries."""
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    table = item.LUTData
    if isinstance(table, bytes):
        wide = "<u2" if _little_endian(dataset) else ">u2"
        table = np.frombuffer(table, np.uint8 if len(table) == (entries or 65536) else wide)
    looked_up = np.atleast_1d(np.asarray(table, dtype=np.float64))[: entries or 65536]
    if not 1 <= bits <= 16:
        raise CorruptImageError(f"damaged DICOM file: a LUT has entries of {bits} bits")
    index = np.clip(values - first, 0, len(looked_up) - 1).astype(np.int64)
    return looked_up[index], bits


def possible(pixels: Stored) -> Stored:
    """Every value that a pixel may have, in the order of its bits as an unsigned number."""
    return np.arange(2 ** (8 * pixels.dtype.itemsize), dtype=unsigned(pixels)).view(pixels.dtype)


def look_up(table: npt.NDArray[np.uint8], pixels: Stored) -> npt.NDArray[np.uint8]:
    """Each pixel's entry in a table that is ordered as :func:`possible`."""
    return table[pixels.view(unsigned(pixels))]


def unsigned(pixels: Stored) -> "np.dtype[np.unsignedinteger]":
    return np.dtype(f"u{pixels.dtype.itemsize}")


def _little_endian(dataset: "Dataset") -> bool:
    return bool(dataset.file_meta.TransferSyntaxUID.is_little_endian)


def _first(value: Any) -> float | None:
    """The first of an element's numbers; None if it has none."""
    if value is None or value == "":
        return None
    try:
        return float(value)
    except TypeError:
        return float(value[0]) if len(value) else None
