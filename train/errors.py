"""Errors of training that are the user's to mend."""

from model.errors import SightlineError


class ConfigError(SightlineError):
    """A setting is unknown or wrong; names it, its value and what is accepted."""


class DataError(SightlineError):
    """The data set cannot be trained on; names the files, classes or groups concerned."""


class RunError(SightlineError):
    """A run directory lacks what a step needs; says which step writes it."""


class TrackingError(SightlineError):
    """The tracker's store or registry cannot be used; names its address."""


class TrainingError(SightlineError):
    """Training went numerically wrong."""


class PeerError(SightlineError):
    """Another process of the same training has failed, and this one with it; says which and why.

    Attributes:
        first: whether this process is the first to say so.
    """

    def __init__(self, message: str, *, first: bool = False) -> None:
        super().__init__(message)
        self.first = first
