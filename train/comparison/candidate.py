"""Runs to be compared, out of directories or MLflow."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from model.bundle import validation_message
from train.config import TrackingConfig
from train.data.versions import FILES, Entry, read_files
from train.errors import RunError
from train.findings import EVALUATION, Evaluation
from train.predictions import PREDICTIONS, Predictions, read_predictions

_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Candidate:
    """One run.

    Attributes:
        where: the last part of its directory, or its MLflow id.
        evaluation: its figures.
        predictions: its answers for the test images.
        files: its data set; None where the list is missing.
    """

    where: str
    evaluation: Evaluation
    predictions: Predictions
    files: dict[str, Entry] | None


@contextmanager
def find_candidates(runs: Sequence[str], uri: str | None) -> Iterator[list[Candidate]]:
    """Read runs; what MLflow has is fetched into a folder that is gone afterwards.

    Args:
        runs: directories, or ids of MLflow runs.
        uri: MLflow's store, where it is not the usual one.

    Raises:
        RunError: a run is missing or has not been evaluated; says which step does it.
        TrackingError: MLflow cannot be used.
    """
    with ExitStack() as stack:
        found = []
        for run in runs:
            path = Path(run)
            if not path.is_dir() and _RUN_ID.fullmatch(run):
                path = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                _fetch(run, uri, path)
            elif not path.is_dir():
                raise RunError(f"{run} is neither a run directory nor the id of an MLflow run")
            where = run if path != Path(run) else path.resolve().name
            found.append(_read(path, where))
        yield found


def _read(path: Path, where: str) -> Candidate:
    file = path / EVALUATION
    try:
        evaluation = Evaluation.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{where} has no {EVALUATION}; `python -m train evaluate` writes it"
        ) from None
    except ValidationError as error:
        raise RunError(
            f"{where}: {EVALUATION} is of another version, evaluate the run again: "
            f"{validation_message(error)}"
        ) from error
    files = read_files(path) if (path / FILES).is_file() else None
    return Candidate(where, evaluation, read_predictions(path / PREDICTIONS), files)


def _fetch(run_id: str, uri: str | None, directory: Path) -> None:
    # Only here: MLflow takes seconds to import, and directories need none of it.
    from train.tracking.mlflow import connect, talking_to, tracking_uri

    config = TrackingConfig(uri=uri)
    client = connect(config)
    with talking_to(tracking_uri(config)):
        have = {each.path for each in client.list_artifacts(run_id)}
        for name in sorted(have & {EVALUATION, PREDICTIONS, FILES}):
            client.download_artifacts(run_id, name, str(directory))
