"""One line of a table of goals."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """What is aimed at.

    Attributes:
        key: in the file of figures.
        text: what is divided by what.
        bound: met at this value or better.
        at_most: smaller is better.
        summed: its samples are counts that are added up; else their median counts.
    """

    key: str
    text: str
    bound: float
    at_most: bool = False
    summed: bool = False

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:g}"
