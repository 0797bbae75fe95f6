"""The step `fit`: data, split, training."""

import hashlib
import json
from collections.abc import Callable, Mapping

import torch
from pydantic import BaseModel, ConfigDict

from model.architectures import Classifier, build
from model.explain import check_head
from model.manifest import Provenance
from train.batches import batches_per_epoch
from train.checkpoint import BEST, LAST
from train.config import TrainConfig, flatten, is_later
from train.data import Dataset, Part, load_classes, open_folder
from train.data.sample import PARTS, listed
from train.data.versions import FILES, write_files
from train.device import Precision, choose_device, seed_everything, seed_of_rank
from train.distributed import World
from train.errors import DataError, RunError
from train.folds import write_folds
from train.imbalance import check_weights, class_counts, class_weights, describe_weights
from train.initialisation import Fit, initialise
from train.leakage import Leakage
from train.loop import Progress, fit
from train.machine import describe_machine, summary
from train.partition import Partition, check_config, partition
from train.provenance import provenance
from train.replica import check_synchronisable
from train.run import CONFIG, FOLDS, SPLIT, TRACKING, Run
from train.split import (
    digest_of_test_split,
    indices,
    read_split,
    warning,
    write_split,
)
from train.state import Epoch, Saved, read_saved
from train.tracking import Tracker
from train.weights import find_weights

TRAINING = "training.json"
LEAKAGE = "leakage.json"

Watch = Callable[[Epoch], None]


class Training(BaseModel):
    """What fit leaves behind beside the checkpoints."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provenance: Provenance
    history: list[Epoch]
    best_epoch: int
    best_val_macro_f1: float


def run_fit(run: Run, watch: Watch | None = None) -> Training:
    """Train the network of a configuration.

    Args:
        run: the run.
        watch: is shown each epoch, and ends the training by what it raises.

    Raises:
        SightlineError: the configuration, the data or the split is unfit; nothing is trained.
    """
    config, console, world = run.config, run.console, run.world
    seed_everything(config.seed)
    # Everything that can be wrong is looked at before an earlier run's results are removed; what
    # is quick to look at, before the data is decoded.
    check_config(config.data.split)
    device, network = prepare(run)
    # Of several processes, the first fetches the weights to begin with, and all get them from it.
    begun_with = world.made_by_main(lambda: None if _unfinished(run) else _initialise(network, run))
    data = run.data
    _check_same_data(data, world)
    split = world.made_by_main(lambda: _split(run, data))
    parts = split.parts
    identity = _identity(config, data, parts)
    ended = world.made_by_main(lambda: _ended(run, identity))
    if ended is not None:
        console.say(
            f"trained already, {len(ended.history)} epochs; loop.resume is 'once', so they stay"
        )
        # Its process may have been ended while it told the tracker.
        with run.tracked() as tracker:
            if world.main:
                _record(run, tracker, ended)
        return ended
    train, val = indices(parts, "train"), indices(parts, "val")
    batches_per_epoch(len(train), config.loop, world.launch)
    counts = class_counts(data.labels[train], data.classes)
    weights = class_weights(config.loop, counts, data.classes)
    saved = world.made_by_main(lambda: _interrupted(run, identity))
    if world.main and saved is None:
        # What has to be fetched is not asked for where a saved state takes its place.
        begun_with = begun_with or _initialise(network, run)
        run.begin()
        write_split(run.path / SPLIT, data.samples, data.classes, parts)
        write_files(run.path / FILES, data)
        run.write(LEAKAGE, split.leakage)
        if split.folds is not None:
            write_folds(run.path / FOLDS, data.samples, data.classes, split.folds)
    elif world.main:
        run.keep_config()
    machine = describe_machine(device, world)
    console.say(f"{_describe(data, parts)}\ndevice: {summary(machine)}")
    if weights is not None:
        console.say(describe_weights(weights, data.classes))
    if saved is not None:
        console.say(_going_on(saved, world))
    elif begun_with is not None:
        console.say(begun_with.describe())
    if not world.main:
        # For dropout: all have the same network by now, and each has other images.
        seed_everything(seed_of_rank(config.seed, world.rank))
    params = {key: str(value) for key, value in flatten(config).items()}
    tags = {"step": "fit", "model": config.name}
    if begun_with is not None:
        tags |= {"weights": begun_with.source, "weights_sha256": begun_with.sha256}
    begin = {"params": params, "tags": tags}
    with run.tracked(begin if saved is None else None) as tracker:
        # First, so that a training that fails has them too.
        if world.main:
            for name in (CONFIG, SPLIT, LEAKAGE, FILES):
                tracker.log_files(run.path / name)
        try:
            progress = _progress(run, tracker, watch)
            history = fit(
                network,
                data,
                train,
                val,
                config,
                progress,
                identity,
                resume=saved is not None,
                world=world,
            )
        except SystemExit:
            console.say("stopped by a signal; the same command goes on from here")
            raise
        origin = world.made_by_main(
            lambda: provenance(
                config,
                data.fingerprint,
                digest_of_test_split(data.samples, parts, data.fingerprint),
                machine,
                sum(epoch.seconds for epoch in history),
                len(history),
            )
        )
        best = max(history, key=lambda epoch: epoch.score)
        training = Training(
            provenance=origin,
            history=history,
            best_epoch=best.epoch,
            best_val_macro_f1=best.val_macro_f1,
        )
        if world.main:
            _record(run, tracker, training)
    console.say(
        f"trained {len(history)} epochs in {origin.trained_seconds:.0f} s; "
        f"the best is epoch {best.epoch}, with macro-F1 {best.val_macro_f1:.3f} on validation"
    )
    return training


def prepare(run: Run) -> tuple[torch.device, Classifier]:
    """Look at all that can be wrong without the data; the device and the untrained network.

    Raises:
        SightlineError: a setting is wrong or cannot be used here.
    """
    config = run.config
    device = choose_device(config.loop.device, run.world.launch)
    check_synchronisable(config.loop, device, run.world)
    if run.world.main:
        run.check_writable()
    folder = open_folder(config.data)
    classes = load_classes(config.data, folder)
    network = build(config.model.architecture, len(classes), config.model.options)
    check_head(network.head)
    Precision.of(config.loop, device)
    check_weights(config.loop, classes)
    if run.world.main:
        # Made here, so that one that cannot be used is known before the data is read.
        _ = run.tracker
    return device, network


def _record(run: Run, tracker: Tracker, training: Training) -> None:
    origin = training.provenance
    tracker.log_files(run.write(TRAINING, training))
    tracker.set_tags(
        {
            "git_commit": str(origin.git_commit),
            "git_dirty": str(origin.git_dirty),
            "data_fingerprint": origin.data_fingerprint,
            "hardware": origin.hardware,
            "config_sha256": origin.config_sha256,
        }
        | ({} if origin.machine is None else _named("machine", origin.machine.model_dump()))
        | _named("version", origin.versions)
    )
    # Of a search's trials only the best one's weights are worth their place.
    if run.study is None:
        tracker.log_files(run.path / BEST)


def _named(what: str, values: Mapping[str, object]) -> dict[str, str]:
    return {f"{what}.{key}": str(value) for key, value in values.items()}


def read_training(run: Run) -> Training:
    """What fit has left, for a later step.

    Raises:
        RunError: fit has not been run, or the data is no longer what it was trained on.
        DataError: an image has come, gone, or changed its label or patient; names it.
    """
    training = run.read(TRAINING, Training, "fit")
    trained, found = training.provenance.data_fingerprint, run.data.fingerprint
    if found != trained:
        # Names the image concerned, where the list of images is not the same.
        read_split(run.path / SPLIT, run.data.samples, run.data.classes)
        raise RunError(
            f"the images below {run.config.data.address} have changed since fit: their "
            f"fingerprint is {found[:16]}, and was {trained[:16]}; bring them back, or run fit "
            "again"
        )
    return training


def _split(run: Run, data: Dataset) -> Partition:
    if run.study is None:
        return partition(data, run.config.data.split, run.config.seed)
    # What has been found for all trials of a search.
    text = (run.study / LEAKAGE).read_text(encoding="utf-8")
    parts = read_split(run.study / SPLIT, data.samples, data.classes)
    return Partition(parts, Leakage.model_validate_json(text))


def _identity(config: TrainConfig, data: Dataset, parts: list[Part]) -> str:
    """Digest of all that the weights depend on."""
    trained = {
        key: value
        for key, value in flatten(config).items()
        if not is_later(key) and key not in ("output", "loop.resume", "loop.checkpoint_minutes")
    }
    text = json.dumps([trained, data.fingerprint, parts])
    return hashlib.sha256(text.encode()).hexdigest()


def _initialise(network: Classifier, run: Run) -> Fit | None:
    """Put the weights into a network that its training begins with; None where they are random."""
    model = run.config.model
    weights = find_weights(model, run.config.tracking)
    return None if weights is None else initialise(network, model, weights)


def _unfinished(run: Run) -> bool:
    """Whether the run directory holds a training that has not ended, and may be gone on with."""
    if run.config.loop.resume == "never" or (run.path / TRAINING).exists():
        return False
    return (run.path / LAST).is_file()


def _check_same_data(data: Dataset, world: World) -> None:
    found = world.gather(data.fingerprint)
    others = [rank for rank, fingerprint in enumerate(found) if fingerprint != found[0]]
    if others:
        raise DataError(
            f"rank {others[0]} finds other images below {data.root} than rank 0; every machine "
            "must have the same files there"
        )


def _interrupted(run: Run, identity: str) -> Saved | None:
    """The state of an unfinished training of this identity, if the run directory has one."""
    if not _unfinished(run):
        return None
    try:
        saved = read_saved(run.path / LAST)
    except RunError:
        return None
    if saved is None or saved.identity != identity or not (run.path / TRACKING).is_file():
        return None
    return saved


def _ended(run: Run, identity: str) -> Training | None:
    """What the same training has left when it came to its end, if that is to be kept.

    A cluster may start a Job's process again after it has done its work.
    """
    if run.config.loop.resume != "once":
        return None
    try:
        training = run.read(TRAINING, Training, "fit")
        saved = read_saved(run.path / LAST)
    except RunError:
        return None
    same = saved is not None and saved.identity == identity and (run.path / TRACKING).is_file()
    return training if same else None


def _going_on(saved: Saved, world: World) -> str:
    text = "going on where the same training was interrupted"
    if saved.processes == world.size:
        return text
    return (
        f"{text}; {saved.processes} process(es) had begun it and {world.size} go on, with the same "
        "batches: the weights agree but for rounding, augmentation, dropout and batch "
        "normalisation, which depend on the number of processes"
    )


def _progress(run: Run, tracker: Tracker, watch: Watch | None) -> Progress:
    console = run.console
    bar = [console.bar("epoch 1", "steps")]

    def on_step(done: int, total: int) -> None:
        bar[0](done, total)

    def on_epoch(epoch: Epoch, improved: bool) -> None:
        tracker.log_metrics(epoch.figures, step=epoch.epoch)
        monitored = ""
        if epoch.monitor not in ("macro_f1", "val_loss"):
            monitored = f"val {epoch.monitor} {epoch.score[0]:.3f}  "
        console.say(
            f"epoch {epoch.epoch:3d}  train loss {epoch.train_loss:.3f}  "
            f"val loss {epoch.val_loss:.3f}  val macro-F1 {epoch.val_macro_f1:.3f}  {monitored}"
            f"{epoch.seconds:.1f} s{'  *' if improved else ''}"
        )
        bar[0] = console.bar(f"epoch {epoch.epoch + 1}", "steps")
        if watch is not None:
            watch(epoch)

    return Progress(on_step, on_epoch, console.say)


def _describe(data: Dataset, parts: list[Part]) -> str:
    lines = [f"{len(data.samples)} images, {len({s.group for s in data.samples})} patients"]
    for label, info in enumerate(data.classes):
        counts = [
            sum(s.label == label and p == part for s, p in zip(data.samples, parts, strict=True))
            for part in PARTS
        ]
        shares = ", ".join(f"{count} {part}" for count, part in zip(counts, PARTS, strict=True))
        lines.append(f"  {info.key}: {shares}")
    if data.skipped:
        skipped = [f"{file}: {reason}" for file, reason in data.skipped.items()]
        lines.append(f"{len(skipped)} image files are unreadable and skipped:{listed(skipped)}")
    return "\n".join([*lines, *filter(None, [warning(parts)])])
