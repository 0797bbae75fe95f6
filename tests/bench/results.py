"""What has been measured, kept between runs so that a section can be measured anew by itself."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from tests.bench import cpu


class Measured(Protocol):
    """A row: a data class that names the section which measured it."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def section(self) -> str: ...


RowT = TypeVar("RowT", bound=Measured)


class Samples:
    """Of ratios, one a round."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, key: str, value: float) -> None:
        self.values.setdefault(key, []).append(float(value))


@dataclass
class Results(ABC, Generic[RowT]):
    """Rows, and the samples of each ratio, one a round.

    Attributes:
        directory: where they are kept.
        rows: of all sections.
        samples: of each ratio or count.
        notes: what each section says besides.
    """

    FIGURES: ClassVar[str]

    directory: Path
    rows: list[RowT] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @staticmethod
    @abstractmethod
    def row(**values: Any) -> RowT:
        """A row of the values that it was kept with."""

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """What the file of figures holds; null for what has not been measured."""

    @classmethod
    def load(cls, directory: Path) -> Self:
        """What earlier runs left; nothing if they were made on another CPU."""
        file = cls._kept(directory)
        if not file.is_file():
            return cls(directory)
        kept = json.loads(file.read_text())
        if kept["cpu"] != cpu.model():
            return cls(directory)
        rows = [cls.row(**row) for row in kept["rows"]]
        return cls(directory, rows, kept["samples"], kept["notes"])

    def forget(self, section: str) -> None:
        """Drop the rows and notes of a section that is about to be measured anew."""
        self.notes.pop(section, None)
        self.rows = [row for row in self.rows if row.section != section]

    def median(self, key: str) -> float | None:
        samples = self.samples.get(key)
        return median(samples) if samples else None

    def save(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        kept = {
            "cpu": cpu.model(),
            "samples": self.samples,
            "notes": self.notes,
            "rows": [asdict(row) for row in self.rows],
        }
        _write(self._kept(self.directory), kept)
        _write(self.directory / self.FIGURES, self.figures())

    @classmethod
    def _kept(cls, directory: Path) -> Path:
        return directory / cls.FIGURES.replace(".json", "-samples.json")


def rounded(value: float | None) -> float | None:
    """As a ratio is written."""
    return None if value is None else round(value, 4)


def summed(samples: Sequence[float] | None) -> int | None:
    """As a count is written."""
    return None if samples is None else round(sum(samples))


def _write(file: Path, document: object) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    partial.replace(file)
