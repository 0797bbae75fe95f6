"""Errors a caller can act on. Each message names what was wrong and what would be accepted."""


class SightlineError(Exception):
    """Base of every error that is the user's to mend, shown without a traceback."""


class BundleError(SightlineError):
    """A bundle is missing, incomplete, corrupt or of another schema."""


class ExplainError(SightlineError):
    """A network's head has a layer for which no closed-form derivative is known."""


class ImageError(SightlineError, ValueError):
    """Bytes that cannot become pixels. `reason` is a short slug, safe as a metric label."""

    reason = "image"


def image_reasons() -> frozenset[str]:
    """The reasons that lie in an image itself: another try would end the same."""
    kinds = [ImageError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return frozenset(kind.reason for kind in kinds)


class EmptyImageError(ImageError):
    """There are no bytes."""

    reason = "empty"


class UnsupportedImageError(ImageError):
    """The bytes are not of a format that is accepted."""

    reason = "unsupported"


class CorruptImageError(ImageError):
    """The format is right, the content is damaged or cut short."""

    reason = "corrupt"


class ImageTooLargeError(ImageError):
    """More bytes or pixels than the limits allow; found before the pixels are allocated."""

    reason = "too_large"


class ImageTooSmallError(ImageError):
    """Fewer pixels than an answer could be based on."""

    reason = "too_small"


class NonImageError(UnsupportedImageError):
    """A DICOM object that is no image: a report, a plan, a segmentation."""

    reason = "not_an_image"


class MultiFrameError(UnsupportedImageError):
    """A DICOM image of several frames."""

    reason = "multi_frame"


class TransferSyntaxError(UnsupportedImageError):
    """DICOM pixel data in a compression that is not decoded here."""

    reason = "transfer_syntax"


class NoPixelsError(CorruptImageError):
    """A DICOM image without its pixel data."""

    reason = "no_pixels"
