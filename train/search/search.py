"""The step `tune`: ask for trials, run them in workers, and tell how they ended."""

import hashlib
import json

from optuna.study import Study
from optuna.trial import TrialState

from train.config import TrainConfig, flatten, is_later
from train.console import Console
from train.data import load_classes
from train.errors import SearchError
from train.partition import check_config, partition
from train.run import SPLIT, Run
from train.search.board import Board
from train.search.config import SearchConfig
from train.search.messages import Setup
from train.search.owner import owner
from train.search.results import write_results
from train.search.space import check_search
from train.search.study import agree_on, open_study, quiet
from train.search.tracked import begin_run
from train.search.trials import Trials
from train.split import digest_of_test_split, write_split
from train.state import stop_on_signals
from train.tracking import ending, make_tracker
from train.training import LEAKAGE

# What may differ between two machines that share a study.
_OWN = ("output", "name", "loop.device", "loop.resume", "loop.checkpoint_minutes")


def run_search(config: TrainConfig, search: SearchConfig, console: Console) -> None:
    """Search until the trials or the time are used up, and write what was found.

    Raises:
        SightlineError: the search, the configuration, the data or the storage is unfit, or no
            trial has come to an end.
        SystemExit: a signal has asked to stop; the same command goes on.
    """
    check_config(config.data.split)
    check_search(search, config, len(load_classes(config.data)))
    with quiet(), owner(search.directory) as name:
        study = open_study(search, config)
        tracker = make_tracker(config.tracking, search.directory, console)
        _prepare(study, config, search, console)
        board = Board(study, search, name, console)
        with ending(tracker):
            parent = begin_run(study, search, config, tracker)
            table = config.data.table
            setup = Setup(
                config=config,
                root=str(config.data.root),
                table=None if table is None else str(table),
                study=search.directory,
                objective=search.objective,
                parent=parent,
            )
            with stop_on_signals() as stop:
                try:
                    Trials(config, board, setup, stop).run()
                finally:
                    for file in write_results(study, search, config, console):
                        tracker.log_files(file)
            if stop.code is not None:
                console.say("stopped by a signal; the same command goes on from here")
                raise SystemExit(stop.code)
            if not study.get_trials(False, (TrialState.COMPLETE,)):
                raise SearchError(f"no trial of study {search.name} has come to an end")
            tracker.log_metrics({f"best_{search.objective}": study.best_value})


def _prepare(study: Study, config: TrainConfig, search: SearchConfig, console: Console) -> None:
    """Decode the images and draw the split, once for all trials.

    Raises:
        ConfigError: the study was begun with something else.
    """
    output = config.model_copy(update={"output": search.directory})
    run = Run(output, console, study=search.directory)
    data = run.data
    split = partition(data, config.data.split, config.seed)
    common = {
        key: value
        for key, value in flatten(config).items()
        if not is_later(key) and key not in _OWN and key not in search.space
    }
    space = [parameter.model_dump_json() for parameter in search.space.values()]
    test = digest_of_test_split(data.samples, split.parts, data.fingerprint)
    inputs = {
        "objective": f"{search.objective}, {search.towards}",
        "space": _digest([list(search.space), space, search.sampler == "grid"]),
        "configuration": _digest(common),
        "data set": data.fingerprint,
        "split": _digest([test, split.parts]),
    }
    agree_on(study, inputs)
    write_split(search.directory / SPLIT, data.samples, data.classes, split.parts)
    run.write(LEAKAGE, split.leakage)


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
