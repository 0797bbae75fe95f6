"""Lines of the predictor's request log: what was answered about which image."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError


class LogError(RuntimeError):
    """A file is no request log, or two of them have nothing in common."""


class Line(BaseModel):
    """One answered image; what else a line holds is of no concern here.

    Attributes:
        request_id: the client's, or the predictor's own.
        image: which of the request's images.
        sha256: of the image.
        label: key of the predicted class.
        confidence: its probability.
        risk: `Indeterminate` is an abstention.
        version: of the model.
        probabilities: of each class.
    """

    model_config = ConfigDict(frozen=True)

    request_id: str
    image: int
    sha256: str | None
    label: str
    confidence: float
    risk: str
    version: str
    probabilities: tuple[float, ...]


def read(files: Iterable[Path]) -> Iterator[Line]:
    """All lines of some files. A last line that was cut off in the middle is left out.

    Raises:
        LogError: a file cannot be read, or has a line that is none of a request log.
    """
    for file in files:
        try:
            with file.open("rb") as stream:
                for number, line in enumerate(stream, 1):
                    if line.endswith(b"\n"):
                        yield _line(file, number, line)
        except OSError as error:
            raise LogError(f"{file} cannot be read: {error.strerror}") from error


def _line(file: Path, number: int, text: bytes) -> Line:
    try:
        return Line.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the line"
        raise LogError(
            f"{file}, line {number} is none of a request log: {where}: {first['msg']}"
        ) from error
