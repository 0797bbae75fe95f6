"""The step `folds`: a training and an evaluation for each fold, and what they say together."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from train.atomic import write_csv
from train.calibrate import calibrated
from train.config import TrainConfig, flatten, is_later
from train.console import Console
from train.data import Dataset
from train.errors import ConfigError, DataError, RunError
from train.evaluation import figures, run_evaluate
from train.findings import EVALUATION, Evaluation
from train.folds import read_folds
from train.inference import logits_of
from train.metrics import evaluate_probabilities
from train.run import CONFIG, FOLDS, TRACKING, Run, Tracked
from train.split import digest_of_test_split
from train.spread import CrossValidation, describe, spread
from train.training import TRAINING, Training, prepare, run_fit

FOLDER = "folds"
SUMMARY = "folds.json"
PREDICTIONS = "predictions.csv"


def run_folds(config: TrainConfig, console: Console, only: int | None = None) -> bool:
    """Train and evaluate the folds that are not done yet, and sum up when all are.

    Everything is in the folder `folds` of the output: `fold-0` and so on are run directories like
    any other, and `folds.csv` says which image is tested where.

    Args:
        config: with `data.split.folds`.
        console: where progress is told.
        only: train this fold alone; the others may be trained by other processes.

    Returns:
        Whether all folds are done.

    Raises:
        ConfigError: the number of folds is not set, or `only` is none of them.
        SightlineError: a fold cannot be trained.
    """
    count = config.data.split.folds
    if count is None:
        raise ConfigError(
            "config field data.split.folds is not set; it is the number of folds, such as 5"
        )
    if only is not None and not 0 <= only < count:
        raise ConfigError(f"--fold is {only}; accepted with {count} folds: 0 to {count - 1}")
    outer = _Outer(config, count, console)
    prepare(outer.run)
    tags = {"step": "folds", "model": config.name, "folds": str(count)}
    params = {key: str(value) for key, value in flatten(config).items()}
    begin = None if outer.is_begun else {"params": params, "tags": tags}
    with outer.run.tracked(begin) as tracker:
        outer.run.keep_config()
        for fold in range(count) if only is None else [only]:
            outer.train(fold, tracker.run_id)
        runs = outer.done()
        if len(runs) < count:
            missing = sorted(set(range(count)) - runs.keys())
            console.say(f"folds that are still to be trained: {', '.join(map(str, missing))}")
            return False
        summary = outer.sum_up(list(runs.values()))
        tracker.log_metrics(
            {f"{name}_mean": spread.mean for name, spread in summary.figures.items()}
            | {f"{name}_sd": spread.sd for name, spread in summary.figures.items()}
            | {
                "pooled_macro_f1": summary.pooled.macro_f1,
                "pooled_accuracy": summary.pooled.accuracy,
                "pooled_ece": summary.pooled.ece,
            }
        )
        for name in (SUMMARY, FOLDS, PREDICTIONS):
            tracker.log_files(outer.run.path / name)
    console.say(describe(summary))
    return True


class _Outer:
    """The folds of one cross-validation and the run around them."""

    def __init__(self, config: TrainConfig, count: int, console: Console) -> None:
        # Not in the output itself: a run of fit may be there, with its configuration and tracker.
        output = config.output / FOLDER
        self._config = _placed(config, output, None, config.data.split.file or output / FOLDS)
        self._count, self._console = count, console
        self.run = Run(self._config, console)

    @property
    def is_begun(self) -> bool:
        """Whether the folder has a cross-validation of these settings, to go on with."""
        try:
            before = self.run.read(TRACKING, Tracked, "folds")
            config = self.run.read(CONFIG, TrainConfig, "folds")
        except RunError:
            return False
        return before.tracker == self._config.tracking.tracker and _alike(config, self._config)

    def fold(self, number: int, parent: str | None = None) -> Run:
        """The run of one fold; all share one data set."""
        path = self.run.path / f"fold-{number}"
        config = _placed(self._config, path, number, self._config.data.split.file)
        return Run(config, self._console, parent, self.run.data)

    def train(self, number: int, parent: str) -> None:
        """Train and evaluate a fold, unless that has been done."""
        run = self.fold(number, parent)
        if self._is_done(run):
            self._console.say(f"\n== fold {number} is done, {run.path}")
            return
        self._console.say(f"\n== fold {number} of {self._count}, {run.path}")
        run.path.mkdir(parents=True, exist_ok=True)
        _share(self.run.path / "cache", run.path / "cache")
        run_fit(run)
        run_evaluate(run)

    def done(self) -> dict[int, Run]:
        """The runs that have been evaluated, by fold."""
        runs = {number: self.fold(number) for number in range(self._count)}
        return {number: run for number, run in runs.items() if self._is_done(run)}

    def sum_up(self, runs: Sequence[Run]) -> CrossValidation:
        """Write the summary and the answers to all images."""
        data = self.run.data
        count = len(data.classes)
        shape = (len(data.samples), count)
        plain, scaled = np.zeros(shape), np.zeros(shape)
        fold_of = np.full(len(data.samples), -1)
        evaluations = [run.read(EVALUATION, Evaluation, "evaluate") for run in runs]
        for number, (run, evaluation) in enumerate(zip(runs, evaluations, strict=True)):
            test = run.indices("test")
            if (fold_of[test] >= 0).any():
                file = data.samples[int(test[fold_of[test] >= 0][0])].file
                raise DataError(f"{file} is tested in more than one fold below {self.run.path}")
            fold_of[test] = number
            logits = _logits(run, test)
            plain[test] = calibrated(logits, 1.0)
            scaled[test] = calibrated(logits, evaluation.temperature)
        if (fold_of < 0).any():
            file = data.samples[int(np.flatnonzero(fold_of < 0)[0])].file
            raise DataError(f"{file} is tested in no fold below {self.run.path}")
        keys = [info.key for info in data.classes]
        summary = CrossValidation(
            folds=self._count,
            data_fingerprint=data.fingerprint,
            figures=spread([figures(evaluation) for evaluation in evaluations]),
            pooled=evaluate_probabilities(scaled, plain, data.labels, keys),
        )
        _write_predictions(self.run.path / PREDICTIONS, data, fold_of, scaled)
        self.run.write(SUMMARY, summary)
        return summary

    def _is_done(self, run: Run) -> bool:
        """Whether a fold has been evaluated with these settings, on this data and this split."""
        try:
            config = run.read(CONFIG, TrainConfig, "fit")
            training = run.read(TRAINING, Training, "fit")
            run.read(EVALUATION, Evaluation, "evaluate")
            parts = run.parts
        except (RunError, DataError):
            return False
        data, split = run.data, run.config.data.split
        if split.file is None or not split.file.is_file():
            return False
        folds = read_folds(split.file, data.samples, data.classes, self._count)
        if [part == "test" for part in parts] != [fold == split.fold for fold in folds]:
            return False
        return (
            _alike(config, run.config)
            and training.provenance.data_fingerprint == data.fingerprint
            and training.provenance.split_sha256
            == digest_of_test_split(data.samples, parts, data.fingerprint)
        )


def _placed(config: TrainConfig, output: Path, fold: int | None, file: Path | None) -> TrainConfig:
    split = config.data.split.model_copy(update={"fold": fold, "file": file})
    data = config.data.model_copy(update={"split": split})
    return config.model_copy(update={"output": output, "data": data})


def _alike(one: TrainConfig, other: TrainConfig) -> bool:
    """Whether two configurations give the same weights; the folder may have been moved."""
    free = ("output", "data.split.file", "loop.resume", "loop.checkpoint_minutes")

    def fixed(config: TrainConfig) -> dict[str, Any]:
        pairs = flatten(config).items()
        return {key: value for key, value in pairs if not is_later(key) and key not in free}

    return fixed(one) == fixed(other)


def _share(cache: Path, link: Path) -> None:
    """Let the steps that are run on a fold later find the decoded images too."""
    if not link.exists() and cache.is_dir():
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(cache, link.parent), target_is_directory=True)


def _logits(run: Run, test: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    return logits_of(run.network(), run.data.images[test], torch.device("cpu"))


def _write_predictions(
    file: Path, data: Dataset, folds: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]
) -> None:
    keys = [info.key for info in data.classes]
    rows = []
    for sample, fold, row in zip(data.samples, folds, probabilities, strict=True):
        answer = [keys[int(row.argmax())], *(f"{value:.6f}" for value in row)]
        rows.append([sample.file, keys[sample.label], str(fold), *answer])
    write_csv(file, ["file", "label", "fold", "predicted", *keys], rows)
