"""Tensors of the V2 protocol, as its REST and gRPC forms share them.

https://github.com/kserve/open-inference-protocol
"""

import base64
import binascii
import itertools
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.answer import Answer
from predictor.errors import MalformedRequestError
from predictor.query import Contract, Query, Source, shown

IMAGE = "image"
PIXELS = "pixels"
INPUTS = {IMAGE: "BYTES", PIXELS: "UINT8"}

DEFAULT_OUTPUTS = ("probabilities", "label", "confidence", "risk")
OUTPUTS = (*DEFAULT_OUTPUTS, "cam", "overlay", "cams", "display")

BASE64 = "base64"

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of an answer.

    Attributes:
        name: one of :data:`OUTPUTS`.
        datatype: FP32 or BYTES.
        shape: N first.
        values: float32 of that shape, or N byte strings.
        text: whether byte strings are UTF-8 text; others are binary.
    """

    name: str
    datatype: str
    shape: list[int]
    values: npt.NDArray[np.float32] | list[bytes]
    text: bool = field(default=False)

    def to_bytes(self) -> bytes:
        """Row-major little-endian values, or length-prefixed byte strings."""
        if isinstance(self.values, list):
            return join_bytes(self.values)
        return np.ascontiguousarray(self.values, dtype="<f4").tobytes()


def check_input(name: Any, datatype: Any, shape: Any, contract: Contract) -> list[int]:
    """Check an input's declaration; see :data:`INPUTS`.

    Returns:
        The shape.

    Raises:
        MalformedRequestError: unknown name, wrong datatype or wrong shape.
        TooLargeError: more images or pixels than are accepted.
    """
    expected = INPUTS.get(name) if isinstance(name, str) else None
    if expected is None:
        raise MalformedRequestError(f"input {shown(name)} is unknown; accepted: {_accepted()}")
    if datatype != expected:
        raise MalformedRequestError(
            f"input {name} has datatype {shown(datatype)}; accepted: {expected}"
        )
    wanted = "[N]" if name == IMAGE else "[N, height, width, 3]"
    rank = 1 if name == IMAGE else 4
    if (
        not isinstance(shape, Sequence)
        or isinstance(shape, str)
        or len(shape) != rank
        or not all(type(size) is int and 0 <= size < 2**31 for size in shape)
        or (name == PIXELS and shape[3] != 3)
    ):
        raise MalformedRequestError(f"input {name} has shape {shown(shape)}; accepted: {wanted}")
    contract.check_count(shape[0], f"input {name}")
    if name == PIXELS:
        contract.check_pixels(shape[1], shape[2])
    return list(shape)


def check_inputs(names: Sequence[Any]) -> None:
    """Refuse no input at all, and one that is named twice.

    With both inputs, the images of the one named first come first in every output.
    """
    if not names:
        raise MalformedRequestError(f"inputs are none; expected: {_accepted()}")
    for position, name in enumerate(names):
        if name in names[:position]:
            raise MalformedRequestError(
                f"input {shown(name)} is given twice; one tensor holds all of its images"
            )


def check_outputs(names: Sequence[Any]) -> tuple[str, ...]:
    """The outputs to give; without any named, :data:`DEFAULT_OUTPUTS`."""
    for name in names:
        if name not in OUTPUTS:
            raise MalformedRequestError(
                f"output {shown(name)} is unknown; accepted: {', '.join(OUTPUTS)}"
            )
    if len(set(names)) != len(names):
        raise MalformedRequestError(f"outputs {', '.join(names)} name one of them twice")
    return tuple(names) or DEFAULT_OUTPUTS


def make_query(
    images: Sequence[Source], outputs: Sequence[str], explain_class: object, contract: Contract
) -> Query:
    return Query(
        images=images,
        cam="cam" in outputs,
        overlay="overlay" in outputs,
        cams="cams" in outputs,
        display="display" in outputs,
        explain_class=contract.class_index(explain_class),
    )


def split_bytes(data: memoryview, count: int, name: str) -> list[memoryview]:
    """Length-prefixed byte strings, without copying them.

    Raises:
        MalformedRequestError: a length is wrong, or there are not exactly `count` of them.
    """
    elements: list[memoryview] = []
    offset = 0
    while offset < len(data) and len(elements) < count:
        start = offset + _LENGTH.size
        if start > len(data):
            raise MalformedRequestError(f"input {name}: element {len(elements)} has no length")
        offset = start + _LENGTH.unpack_from(data, offset)[0]
        if offset > len(data):
            raise MalformedRequestError(
                f"input {name}: element {len(elements)} should have {offset - start} bytes, "
                f"but {len(data) - start} are left"
            )
        elements.append(data[start:offset])
    if len(elements) != count or offset != len(data):
        raise MalformedRequestError(
            f"input {name} has shape [{count}], but its data holds {len(elements)} elements "
            f"and {len(data) - offset} more bytes; each element is a 4-byte little-endian length "
            "and as many bytes"
        )
    return elements


def join_bytes(elements: Sequence[bytes]) -> bytes:
    return b"".join(part for each in elements for part in (_LENGTH.pack(len(each)), each))


def pixels_from_bytes(data: memoryview, shape: Sequence[int]) -> list[Source]:
    """uint8 [N, H, W, 3] as N views of the data."""
    if len(data) != math.prod(shape):
        raise MalformedRequestError(
            f"input {PIXELS} has shape {list(shape)}, that is {math.prod(shape)} bytes, "
            f"but its data has {len(data)}"
        )
    return list(np.frombuffer(data, dtype=np.uint8).reshape(shape))


def pixels_from_numbers(values: object, shape: Sequence[int]) -> list[Source]:
    """uint8 [N, H, W, 3] from numbers, nested or flat."""
    flat = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else None
    if flat and isinstance(flat[0], list):
        flat = _flattened(flat, shape)
    if flat is None or len(flat) != math.prod(shape):
        found = "nothing of that shape" if flat is None else f"{len(flat)} values"
        raise MalformedRequestError(
            f"input {PIXELS} has shape {list(shape)}, but its data has {found}; flat numbers or "
            "nesting of that shape are accepted"
        )
    # Never through an array of mixed types: NumPy would make room for the longest string in each.
    if set(map(type, flat)) != {int} or min(flat) < 0 or max(flat) > 255:
        raise MalformedRequestError(f"input {PIXELS}: data must be integers from 0 to 255")
    return list(np.frombuffer(bytes(flat), dtype=np.uint8).reshape(shape))


def _flattened(values: list[Any], shape: Sequence[int]) -> list[Any] | None:
    """Nested lists of exactly this shape made flat; None if they are of another."""
    if len(values) != shape[0]:
        return None
    for size in shape[1:]:
        if any(not isinstance(each, list) or len(each) != size for each in values):
            return None
        values = list(itertools.chain.from_iterable(values))
    return values


def from_base64(text: object, where: str) -> bytes:
    """An encoded image from base64; a `data:...;base64,` prefix is taken off.

    Raises:
        MalformedRequestError: it is no base64; says where.
    """
    if isinstance(text, bytes | memoryview):
        text = bytes(text).decode("ascii", errors="replace")
    if not isinstance(text, str):
        raise MalformedRequestError(
            f"{where} is not a string; base64 of a JPEG, PNG or DICOM file is expected"
        )
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise MalformedRequestError(f"{where} is a data URL, but not one of base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedRequestError(f"{where} is not valid base64") from None


def output_tensors(answers: Sequence[Answer], names: Sequence[str]) -> list[OutputTensor]:
    """The named outputs, in the order they were named."""
    return [_output(answers, name) for name in names]


def _output(answers: Sequence[Answer], name: str) -> OutputTensor:
    count = len(answers)
    if name == "probabilities":
        return _numbers(name, np.stack([answer.probabilities for answer in answers]))
    if name == "confidence":
        return _numbers(name, np.array([answer.confidence for answer in answers], np.float32))
    if name == "cam":
        return _numbers(
            name, np.stack([answer.cam for answer in answers if answer.cam is not None])
        )
    if name == "cams":
        return _numbers(
            name, np.stack([answer.cams for answer in answers if answer.cams is not None])
        )
    if name in ("overlay", "display"):
        pictures = [(a.overlay if name == "overlay" else a.display) or b"" for a in answers]
        return OutputTensor(name, "BYTES", [count], pictures)
    texts = [(a.label if name == "label" else a.risk).encode() for a in answers]
    return OutputTensor(name, "BYTES", [count], texts, text=True)


def _numbers(name: str, values: npt.NDArray[np.float32]) -> OutputTensor:
    return OutputTensor(name, "FP32", list(values.shape), values)


def _accepted() -> str:
    return f"{IMAGE} (BYTES [N], JPEG, PNG or DICOM) or {PIXELS} (UINT8 [N, height, width, 3])"
