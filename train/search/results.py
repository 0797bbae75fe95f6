"""What a search leaves: a table, plots, and the configuration of the best trial."""

import math
from pathlib import Path

import yaml
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from train.atomic import write_csv, write_text
from train.checkpoint import BEST, LAST
from train.config import TrainConfig, with_values
from train.console import Console
from train.run import SPLIT
from train.search.board import BEST_EPOCH, EPOCHS, ERROR, Board
from train.search.config import SearchConfig
from train.search.plots import draw_plots
from train.search.study import is_retried

BEST_CONFIG = "best.yaml"
TABLE = "trials.csv"
_ROWS_SHOWN = 20
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def write_best(study: Study, search: SearchConfig, config: TrainConfig) -> Path | None:
    """Write the configuration of the best trial, for `fit`; None while there is none."""
    best = best_trial(study)
    if best is None:
        return None
    # The split is the study's: the seed may have been searched, and it draws another one.
    split = {"file": str(search.directory / SPLIT), "folds": None, "fold": None}
    values = best.params | {f"data.split.{key}": value for key, value in split.items()}
    tree = with_values(config, values).model_dump(mode="json")
    head = (
        f"# Trial {best.number} of study {search.name}: {search.objective} {best.value:.6f}.\n"
        "# python -m train fit --config FILE trains it again; seed and split are the trial's.\n"
    )
    file = search.directory / BEST_CONFIG
    write_text(file, head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    return file


def best_trial(study: Study) -> FrozenTrial | None:
    """The complete trial with the best value; of several, the first."""
    if not study.get_trials(False, (TrialState.COMPLETE,)):
        return None
    return study.best_trial


def write_results(
    study: Study, search: SearchConfig, config: TrainConfig, console: Console
) -> list[Path]:
    """Write table, configuration and plots; return the files, and show the table."""
    trials = study.get_trials(deepcopy=False)
    keys = list(search.space)
    file = search.directory / TABLE
    header = ["trial", "state", search.objective, "best_epoch", "epochs", "seconds", *keys, ERROR]
    write_csv(file, header, ([*_row(t, trials, keys), _error(t)] for t in trials))
    console.say(f"\n{_table(trials, search)}")
    files = [file, *draw_plots(study, search)]
    if (best := write_best(study, search, config)) is not None:
        files.append(best)
        console.say(f"\npython -m train fit --config {best}")
    return files


def keep_checkpoints(board: Board) -> None:
    """Remove the checkpoints of trials that have ended, but for those that are to be kept."""
    keep = board.search.keep
    if keep == "all":
        return
    trials = board.study.get_trials(deepcopy=False)
    best = best_trial(board.study)
    # A trial that is to be repeated goes on from its checkpoint.
    in_use = {board.directory(t) for t in trials if not t.state.is_finished()}
    for trial in trials:
        directory = board.directory(trial)
        if directory in in_use:
            continue
        (directory / LAST).unlink(missing_ok=True)
        if keep == "none" or best is None or directory != board.directory(best):
            (directory / BEST).unlink(missing_ok=True)


def _row(trial: FrozenTrial, trials: list[FrozenTrial], keys: list[str]) -> list[str]:
    state = "retried" if is_retried(trial, trials) else _STATES[trial.state]
    return [
        str(trial.number),
        state,
        "" if trial.value is None else f"{trial.value:.6g}",
        str(trial.user_attrs.get(BEST_EPOCH, "")),
        str(trial.user_attrs.get(EPOCHS, "")),
        "" if trial.duration is None else f"{trial.duration.total_seconds():.1f}",
        *(_short(trial.params.get(key, "")) for key in keys),
    ]


def _error(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get(ERROR, "")) if trial.state == TrialState.FAIL else ""


def _table(trials: list[FrozenTrial], search: SearchConfig) -> str:
    keys = list(search.space)
    sign = -1.0 if search.towards == "maximize" else 1.0
    # Best first, then those without a value.
    ranked = sorted(
        trials,
        key=lambda t: (
            list(_STATES).index(t.state),
            math.inf if t.value is None else sign * t.value,
        ),
    )
    header = ["trial", "state", search.objective, "epoch", "epochs", "s", *keys]
    rows = [header, *(_row(trial, trials, keys) for trial in ranked[:_ROWS_SHOWN])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)) for row in rows]
    if len(trials) > _ROWS_SHOWN:
        lines.append(f"... {len(trials) - _ROWS_SHOWN} more in {search.directory / TABLE}")
    failed = [f"trial {t.number} failed: {_error(t)}" for t in trials if _error(t)]
    return "\n".join([*lines, *failed[:_ROWS_SHOWN]])


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
