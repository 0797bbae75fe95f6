"""What a client asks, whatever protocol it asks in."""

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from model.errors import ImageError
from model.image import ImageLimits, Pixels, check_pixels
from model.manifest import Manifest
from predictor.errors import ItemError, MalformedRequestError, TooLargeError

_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother, _REPR.maxlist = 3, 80, 80, 8
_MOST_DIGITS = 18

# An encoded JPEG, PNG or DICOM file, or RGB pixels uint8 [h, w, 3] of any size within the limits.
Source = bytes | memoryview | Pixels


def content_of(source: Source) -> bytes | memoryview:
    """What identifies an image: the bytes of its file, or those of its pixels."""
    if not isinstance(source, np.ndarray):
        return source
    return np.ascontiguousarray(source).data


@dataclass(frozen=True, slots=True)
class Query:
    """Images and what to say about them.

    Attributes:
        images: encoded files or pixels, in the order of the answers.
        cam: whether the class activation map is wanted.
        overlay: whether the map drawn over the image is wanted.
        explain_class: index of the class to explain; None for each image's predicted class.
        cams: whether the maps of all classes are wanted.
        display: whether the picture that an overlay is drawn on is wanted.
    """

    images: Sequence[Source]
    cam: bool = False
    overlay: bool = False
    explain_class: int | None = None
    cams: bool = False
    display: bool = False

    @property
    def explained(self) -> bool:
        return self.cam or self.overlay or self.cams

    @property
    def pictured(self) -> bool:
        return self.overlay or self.display


@dataclass(frozen=True)
class Contract:
    """What a served model accepts and gives; all that parsing a request needs to know.

    Attributes:
        class_keys: the K classes.
        cam_shape: height and width of a map.
        limits: bounds on one image.
        max_images: most images of one request.
    """

    class_keys: Sequence[str]
    cam_shape: tuple[int, int]
    limits: ImageLimits = field(default_factory=ImageLimits)
    max_images: int = 64

    @classmethod
    def of(cls, manifest: Manifest, limits: ImageLimits, max_images: int) -> "Contract":
        shape = (manifest.architecture.cam_height, manifest.architecture.cam_width)
        return cls(tuple(manifest.class_keys), shape, limits, max_images)

    def check_count(self, count: int, field_name: str) -> None:
        """Refuse a request with no image or with too many."""
        if count < 1:
            raise MalformedRequestError(f"{field_name} has no image; at least one is expected")
        if count > self.max_images:
            raise TooLargeError(
                f"{field_name} has {count} images; at most {self.max_images} are accepted "
                "in one request"
            )

    def check_pixels(self, height_px: int, width_px: int) -> None:
        """Refuse raw pixels of a size that an encoded image could not have either."""
        try:
            check_pixels(height_px, width_px, self.limits)
        except ImageError as error:
            raise ItemError(0, error) from None

    def class_index(self, value: object) -> int | None:
        """Index of the class named by `explain_class`: a class key, or an index.

        Raises:
            MalformedRequestError: no such class; lists those that exist.
        """
        if value is None:
            return None
        if isinstance(value, str) and value in self.class_keys:
            return list(self.class_keys).index(value)
        index = int(value) if isinstance(value, str) and is_number(value) else value
        classes = len(self.class_keys)
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < classes:
            return index
        raise MalformedRequestError(
            f"explain_class is {shown(value)}; accepted: {', '.join(self.class_keys)}, "
            f"or an index from 0 to {classes - 1}"
        )


def shown(value: object) -> str:
    """A client's value for an error message: short, however large or deeply nested it is."""
    text = _REPR.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def is_number(text: str) -> bool:
    """Whether it is digits, and not so many that Python refuses to read them."""
    return text.isdecimal() and len(text) <= _MOST_DIGITS
