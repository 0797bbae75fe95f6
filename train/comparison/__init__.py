"""`python -m train compare`: several runs side by side, and whether they differ beyond noise."""

from collections.abc import Sequence
from pathlib import Path

from train.atomic import write_text
from train.comparison.candidate import Candidate, find_candidates
from train.comparison.compare import compare
from train.comparison.page import draw_comparison
from train.comparison.schema import Comparison
from train.comparison.table import describe
from train.errors import ConfigError

__all__ = ["Candidate", "Comparison", "compare", "describe", "run_compare"]


def run_compare(
    runs: Sequence[str],
    html: Path | None = None,
    json: Path | None = None,
    resamples: int = 2000,
    uri: str | None = None,
) -> Comparison:
    """Compare runs with the first of them.

    Args:
        runs: two or more run directories, or ids of MLflow runs.
        html: where the page is written.
        json: where the figures are written.
        resamples: of the patients.
        uri: MLflow's store; else $MLFLOW_TRACKING_URI, else sqlite in mlflow.db.

    Raises:
        RunError: a run is missing or has not been evaluated.
    """
    if len(runs) < 2:
        raise ConfigError(f"compare was given {len(runs)} run; at least two are needed")
    if resamples < 100:
        raise ConfigError(f"--resamples is {resamples}; at least 100 are needed")
    with find_candidates(runs, uri) as candidates:
        comparison = compare(candidates, resamples)
    if html is not None:
        write_text(html, draw_comparison(comparison))
    if json is not None:
        write_text(json, comparison.model_dump_json(indent=2) + "\n")
    return comparison
