"""Errors of training that are the user's to mend."""

from model.errors import SightlineError


class ConfigError(SightlineError):
    """A setting is unknown or wrong; names it, its value and what is accepted."""


class DataError(SightlineError):
    """The data set cannot be trained on; names the files, classes or groups concerned."""


class PassingError(SightlineError):
    """What failed lies outside and may pass: the same command can succeed later."""


class SourceAwayError(DataError, PassingError):
    """The images cannot be read now, though nothing says that they are not there."""


class RunError(SightlineError):
    """A run directory lacks what a step needs; says which step writes it."""


class TrackingError(SightlineError):
    """The tracker's store or registry cannot be used; names its address."""


class LeaseError(PassingError):
    """A retraining was away from the registry for so long that another may have begun."""


class SearchError(SightlineError):
    """A study cannot be used, or its trials all fail; says why."""


class StudyAwayError(SearchError, PassingError):
    """The study's database cannot be reached now."""


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


class PrunedError(Exception):
    """A training is given up since others do better: the end of a trial, not a failure."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"given up after epoch {epoch}")
        self.epoch = epoch
