"""Says what is measured while it is measured, and keeps it."""

from typing import Generic

from tests.bench.results import Results, RowT, Samples


class Recorder(Generic[RowT]):
    """The section that is being measured.

    Args:
        results: where it goes.
    """

    def __init__(self, results: Results[RowT]) -> None:
        self.results = results
        self.section = ""

    def begin(self, section: str) -> None:
        """Drop what an earlier run of the section has left."""
        self.section = section
        self.results.forget(section)
        say(f"\n{section}")

    def keep(self, samples: Samples) -> None:
        """Keep the samples of ratios."""
        for key, values in samples.values.items():
            self.results.samples[key] = values
            shown = ", ".join(f"{value:.3f}" for value in values)
            say(f"  {key}: {shown}")

    def note(self, text: str) -> None:
        """Say something under the table."""
        self.results.notes.setdefault(self.section, []).append(text)
        say(f"  {text}")


def say(text: str) -> None:
    print(text, flush=True)
