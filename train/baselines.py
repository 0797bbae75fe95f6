"""The command `baselines`: the small CNN and pretrained backbones on the same data and split."""

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from model.architectures import ARCHITECTURES
from train.assessment.schema import Figure
from train.backbones import PREFIXES
from train.batches import batches_per_epoch
from train.config import TrainConfig, dump_config, flatten
from train.console import Console
from train.errors import ConfigError
from train.evaluation import run_evaluate
from train.initialisation import initialise
from train.run import BASELINE, CONFIG, TRACKING, Run
from train.training import prepare, run_fit
from train.weights import find_weights

SMALL = "baseline"
DIRECTORY = "baselines"
TABLE = "baselines.md"
FIGURES = "baselines.json"


class Baseline(BaseModel):
    """What one network has reached, on the test split unless the name says otherwise.

    The interval of its macro-F1 is absent where the split is too small for one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str
    weights: str
    data_fingerprint: str
    parameters: int
    val_macro_f1: float
    macro_f1: float
    macro_f1_low: float | None
    macro_f1_high: float | None
    accuracy: float
    epochs: int
    seconds: float
    images_per_second: float


class Baselines(BaseModel):
    """All of them, in the order they were asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    baselines: list[Baseline]


@dataclass(frozen=True)
class Wanted:
    """A network and the weights that it begins with, as `model.weights` has them."""

    architecture: str
    weights: str


def parse_wanted(items: Iterable[str]) -> tuple[list[Wanted], list[str]]:
    """Tell `ARCHITECTURE` and `ARCHITECTURE=WEIGHTS` from `key=value`.

    The small CNN comes first, whether it is named or not. Backbones begin with ImageNet's weights
    unless others are named.

    Returns:
        The networks and the other items.

    Raises:
        ConfigError: an architecture is unknown or named twice.
    """
    wanted, overrides = {SMALL: "none"}, []
    named = set[str]()
    for item in items:
        name, equals, weights = item.partition("=")
        if name not in ARCHITECTURES:
            if not equals:
                known = ", ".join(sorted(ARCHITECTURES))
                raise ConfigError(f"architecture {name!r} is unknown; accepted: {known}")
            overrides.append(item)
            continue
        if name in named:
            raise ConfigError(f"architecture {name} is named twice")
        named.add(name)
        wanted[name] = weights or ("imagenet" if name in PREFIXES else "none")
    return [Wanted(*pair) for pair in wanted.items()], overrides


def run_baselines(
    config: TrainConfig, wanted: Iterable[Wanted], console: Console
) -> list[Baseline]:
    """Train and evaluate each network in a directory of its own below `output/baselines`.

    One that is finished, with the same configuration and data, is not trained again; one that was
    interrupted is gone on with. The tracked runs are nested in one.

    Raises:
        SightlineError: a configuration, weights or the data are unfit.
    """
    # Not in `output` itself, where fit has a run of its own.
    below = config.model_copy(update={"output": config.output / DIRECTORY})
    all_of_them = Run(below, console)
    runs = [Run(_config_of(each, below), console) for each in wanted]
    for run in runs:
        _check(run)
    data = Run(config, console).data
    for run in runs:
        run.loaded = data
    if any(_finished(run) is None for run in runs):
        resumed = (all_of_them.path / TRACKING).is_file()
        begin = {
            "params": {key: str(value) for key, value in flatten(config).items()},
            "tags": {"step": "baselines", "model": config.name},
        }
        with all_of_them.tracked(None if resumed else begin) as tracker:
            for run in runs:
                run.parent = tracker.run_id
                baseline = _finished(run) or _train(run)
                name = baseline.architecture
                tracker.log_metrics(
                    {
                        f"test_macro_f1/{name}": baseline.macro_f1,
                        f"test_accuracy/{name}": baseline.accuracy,
                        f"images_per_second/{name}": baseline.images_per_second,
                    }
                )
            found = _write(all_of_them, runs)
            for name in (TABLE, FIGURES):
                tracker.log_files(all_of_them.path / name)
    else:
        found = _write(all_of_them, runs)
    console.say(describe(found))
    return found


def describe(baselines: Iterable[Baseline]) -> str:
    """The table, in Markdown."""
    lines = [
        (
            "| architecture | weights | macro-F1 | accuracy | macro-F1, validation "
            "| parameters | epochs | seconds | images/s |"
        ),
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {b.architecture} | {b.weights} | {_macro_f1(b)} | {b.accuracy:.3f} "
        f"| {b.val_macro_f1:.3f} | {b.parameters:,} | {b.epochs} | {b.seconds:.0f} "
        f"| {b.images_per_second:.0f} |"
        for b in baselines
    ]
    return "\n".join(lines)


def _macro_f1(baseline: Baseline) -> str:
    low, high = baseline.macro_f1_low, baseline.macro_f1_high
    return Figure(value=baseline.macro_f1, low=low, high=high).rounded()


def _config_of(wanted: Wanted, config: TrainConfig) -> TrainConfig:
    tree = config.model_dump(mode="json")
    same = wanted.architecture == config.model.architecture
    tree["model"] = {
        "architecture": wanted.architecture,
        "weights": wanted.weights,
        "options": config.model.options if same else {},
    }
    tree["output"] = str(config.output / wanted.architecture)
    if wanted.weights == "none":
        # There is nothing in it yet that could be kept.
        tree["loop"] |= {"freeze_epochs": 0, "layer_decay": 1.0}
    return TrainConfig.model_validate(tree)


def _check(run: Run) -> None:
    """Find out before hours of the others whether this one can begin."""
    model = run.config.model
    _, network = prepare(run)
    weights = find_weights(model, run.config.tracking)
    if weights is not None:
        initialise(network, model, weights)


def _finished(run: Run) -> Baseline | None:
    """What an earlier process has reached with the same configuration and data."""
    try:
        before = (run.path / CONFIG).read_text(encoding="utf-8")
        text = (run.path / BASELINE).read_text(encoding="utf-8")
        baseline = Baseline.model_validate_json(text)
    except (FileNotFoundError, ValidationError):
        return None
    same = before == dump_config(run.config)
    return baseline if same and baseline.data_fingerprint == run.data.fingerprint else None


def _train(run: Run) -> Baseline:
    model = run.config.model
    run.console.say(f"\n== {model.architecture} from {model.weights}")
    training = run_fit(run)
    evaluation = run_evaluate(run)
    interval = evaluation.assessment.overall.macro_f1
    seconds = sum(epoch.seconds for epoch in training.history)
    loop = run.config.loop
    trained = batches_per_epoch(len(run.indices("train")), loop) * loop.batch_size
    baseline = Baseline(
        architecture=model.architecture,
        weights=model.weights,
        data_fingerprint=run.data.fingerprint,
        parameters=sum(parameter.numel() for parameter in run.network().parameters()),
        val_macro_f1=training.best_val_macro_f1,
        macro_f1=evaluation.metrics.macro_f1,
        macro_f1_low=interval.low,
        macro_f1_high=interval.high,
        accuracy=evaluation.metrics.accuracy,
        epochs=len(training.history),
        seconds=seconds,
        images_per_second=trained * len(training.history) / seconds,
    )
    run.write(BASELINE, baseline)
    return baseline


def _write(all_of_them: Run, runs: Iterable[Run]) -> list[Baseline]:
    found = [baseline for run in runs if (baseline := _finished(run)) is not None]
    all_of_them.write(FIGURES, Baselines(baselines=found))
    all_of_them.write(TABLE, describe(found) + "\n")
    return found
