"""What a tracker's store has of a run, read back by other means than it was written."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from train.tracking.mlflow import RUN_TAG

# Of the log format that W&B writes, https://github.com/google/leveldb/blob/main/doc/log_format.md
_BLOCK = 32768
_LAST_PARTS = (1, 4)


@dataclass
class Seen:
    """A run as a store has it; `metrics` maps (name, step) to every value that is there."""

    status: str = ""
    parent: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    times_ms: dict[tuple[str, int], int] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, step: int, value: float, time_ms: int) -> None:
        self.metrics.setdefault((name, step), []).append(value)
        self.times_ms[name, step] = time_ms


def store_id_of(run_path: Path) -> str:
    """The id that a run directory's run has in its store."""
    run_id = json.loads((run_path / "tracking.json").read_text())["run_id"]
    sent = json.loads((run_path / "tracking" / run_id / "sent.json").read_text())
    return str(sent["store_id"])


def in_mlflow(uri: str, run_id: str, scratch: Path, experiment: str = "sightline") -> Seen:
    """Our run `run_id`, of which there must be exactly one."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    (run,) = client.search_runs([found.experiment_id], f"tags.`{RUN_TAG}` = '{run_id}'")
    seen = Seen(run.info.status, params=run.data.params, tags=run.data.tags)
    for key in run.data.metrics:
        for metric in client.get_metric_history(run.info.run_id, key):
            seen.add(key, metric.step, metric.value, metric.timestamp)
    outer = run.data.tags.get("mlflow.parentRunId")
    if outer is not None:
        seen.parent = client.get_run(outer).data.tags[RUN_TAG]
    folder = Path(client.download_artifacts(run.info.run_id, "", str(scratch)))
    seen.files = _below(folder)
    return seen


def in_wandb(directory: Path, run_id: str) -> Seen:
    """All offline files of a run together, as `wandb sync` would send them."""
    seen = Seen()
    # Two of one second differ by a number at the end.
    for folder in sorted(directory.glob(f"wandb/offline-run-*-{run_id}*")):
        (file,) = folder.glob("*.wandb")
        for record in wandb_records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                seen.parent = record.run.run_group or seen.parent
            if kind in ("run", "config"):
                config = record.run.config if kind == "run" else record.config
                _take_config(seen, config)
            elif kind == "history":
                _take_history(seen, record.history)
            elif kind == "exit":
                seen.status = {0: "FINISHED", 1: "FAILED", 143: "KILLED"}[record.exit.exit_code]
        seen.files |= _below(file.parent / "files")
    return seen


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of an offline run; wandb's own reader is no longer in Python."""
    # Its classes are made when it is loaded.
    from wandb.proto import wandb_internal_pb2 as schema

    data = file.read_bytes()
    assert data[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in _LAST_PARTS:
            record = schema.Record()  # type: ignore[attr-defined]
            record.ParseFromString(parts)
            parts = b""
            yield record


def _take_config(seen: Seen, config: Any) -> None:
    for item in config.update:
        key = item.key or "/".join(item.nested_key)
        value = json.loads(item.value_json)
        if key.startswith("tag/"):
            seen.tags[key.removeprefix("tag/")] = value
        elif key != "_wandb":
            seen.params[key] = value


def _take_history(seen: Seen, history: Any) -> None:
    row = {
        item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in history.item
    }
    step, time_ms = int(row.pop("step")), round(row.pop("_timestamp") * 1000)
    for key, value in row.items():
        if not key.startswith("_"):
            seen.add(key, step, float(value), time_ms)


def _below(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }
