"""What a tracker must be able to do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(Protocol):
    """Records one run over several steps, each of which may be a process of its own."""

    @property
    def run_id(self) -> str:
        """The run's id, by which its children name it; empty before begin or resume."""
        ...

    def begin(
        self,
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        parent: str | None = None,
    ) -> str:
        """Start a run and return its id.

        Args:
            name: what people see.
            params: of the run, all of them.
            tags: may be added to and changed later.
            parent: id of the run that this one is nested in: a search, a cross-validation.
        """
        ...

    def resume(self, run_id: str) -> None:
        """Go on with a run of an earlier step."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None: ...

    def set_tags(self, tags: Mapping[str, str]) -> None: ...

    def log_files(self, path: Path, under: str | None = None) -> None:
        """Keep a file, or a directory with all that is in it, as artefacts."""
        ...

    def sync(self) -> str:
        """Wait until the store has everything, and return the id that the run has there.

        Raises:
            TrackingError: it cannot be reached.
        """
        ...

    def end(self, status: Status) -> None:
        """Close the run; called exactly once for each begin or resume, also where that failed."""
        ...
