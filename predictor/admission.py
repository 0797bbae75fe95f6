"""The bound on images that are in the house at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from predictor.errors import QueueFullError


class Admission:
    """Counts images from the moment their request is understood until it is answered.

    What waits for a decoder, waits for the engine or is being answered all counts, so no stage
    can pile up work that another bound does not see. Used from the event loop only.

    Args:
        max_images: how many may be in the house.
        images_per_second: the engine's measured speed, from which the wait is guessed.
    """

    def __init__(self, max_images: int, images_per_second: float = 1.0) -> None:
        self._max_images = max_images
        self._images_per_second = images_per_second
        self.images = 0

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Hold places for a request's images.

        Raises:
            QueueFullError: there are too few; says when to come again.
        """
        if self.images + images > self._max_images:
            raise QueueFullError(
                f"{self.images} images are being worked on and the request has {images}; "
                f"at most {self._max_images} are accepted at once",
                retry_after_s=self.images / self._images_per_second,
            )
        self.images += images
        try:
            yield
        finally:
            self.images -= images
