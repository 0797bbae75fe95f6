"""A tracker in one file, as CONTRIBUTING says: a line of JSON for everything, in one folder."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from train.config import TrackingConfig
from train.tracking.base import Status
from train.tracking.journal import Begin, Metrics

from .seen import Seen


class ToyStore:
    def __init__(self, config: TrackingConfig, directory: Path) -> None:
        assert config.uri is not None
        self._home = Path(config.uri)
        self.address = f"toys in {self._home}"

    def check(self) -> None:
        self._home.mkdir(exist_ok=True)

    def begin(self, run_id: str, begin: Begin, *, again: bool) -> str:
        (self._home / f"{run_id}.files").mkdir(exist_ok=True)
        self._write(run_id, parent=begin.parent, params=begin.params, tags=begin.tags)
        return run_id

    def find(self, run_id: str) -> str | None:
        return run_id if (self._home / f"{run_id}.jsonl").exists() else None

    def resume(self, store_id: str) -> None:
        self._write(store_id, status="RUNNING")

    def log(self, store_id: str, metrics: Sequence[Metrics], *, again: bool) -> None:
        for each in metrics:
            self._write(store_id, values=each.values, step=each.step, time_ms=each.time_ms)

    def set_tags(self, store_id: str, tags: Mapping[str, str]) -> None:
        self._write(store_id, tags=tags)

    def log_file(self, store_id: str, file: Path, path: str) -> None:
        place = self._home / f"{store_id}.files" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)

    def end(self, store_id: str, status: Status, time_ms: int) -> None:
        self._write(store_id, status=status)

    def _write(self, run_id: str, **content: object) -> None:
        with (self._home / f"{run_id}.jsonl").open("a") as stream:
            print(json.dumps(content), file=stream)


def in_toys(home: Path, run_id: str) -> Seen:
    seen = Seen()
    for line in (home / f"{run_id}.jsonl").read_text().splitlines():
        content = json.loads(line)
        for key, value in content.pop("values", {}).items():
            seen.add(key, content["step"], value, content["time_ms"])
        seen.tags |= content.get("tags", {})
        seen.params |= content.get("params", {})
        seen.parent = content.get("parent", seen.parent)
        seen.status = content.get("status", seen.status)
    folder = home / f"{run_id}.files"
    files = (file for file in folder.rglob("*") if file.is_file())
    seen.files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
    return seen
