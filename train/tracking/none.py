"""No tracking."""

from collections.abc import Mapping
from pathlib import Path

from train.tracking.base import Status


class NoTracker:
    """Records nothing; the run directory has everything but the history across runs."""

    run_id = ""

    def begin(
        self,
        name: str,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        parent: str | None = None,
    ) -> str:
        self.run_id = "untracked"
        return self.run_id

    def resume(self, run_id: str) -> None:
        self.run_id = run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        pass

    def set_tags(self, tags: Mapping[str, str]) -> None:
        pass

    def log_files(self, path: Path, under: str | None = None) -> None:
        pass

    def sync(self) -> str:
        return self.run_id

    def end(self, status: Status) -> None:
        pass
