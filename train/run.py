"""The run directory: what fit writes there, and what the later steps find."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from model.architectures import Classifier, build
from model.bundle import MANIFEST, validation_message
from model.errors import SightlineError
from model.image import DecodeRule
from model.manifest import ClassInfo
from train.assessment.slices import check_slices
from train.atomic import write_text
from train.batches import batches_per_epoch
from train.checkpoint import BEST, LAST, load_weights
from train.config import TrainConfig, dump_config, override_later
from train.console import Console
from train.data import Dataset, Part, Sample, load_dataset
from train.data.versions import FILES
from train.data_config import DataConfig
from train.distributed import World
from train.errors import ConfigError, PeerError, RunError
from train.partition import check_samples
from train.split import indices, read_split
from train.tracking import Tracker, ending, make_tracker
from train.tracking.journal import journals
from train.tracking.none import NoTracker
from train.tracking.registry import JOURNALS

CACHE = "cache"
CONFIG = "config.json"
SPLIT = "split.csv"
FOLDS = "folds.csv"
TRACKING = "tracking.json"
BASELINE = "baseline.json"
RETRAINED = "retrain.json"
BUNDLE = "bundle"
# Less than the 30 s after which torchrun kills what is left of a failed training.
_MAIN_ENDS_S = 10.0
RESULTS = (
    BEST,
    LAST,
    SPLIT,
    FOLDS,
    TRACKING,
    BASELINE,
    "leakage.json",
    FILES,
    "training.json",
    "evaluation.json",
    "predictions.csv",
    "report.html",
    "MODEL_CARD.md",
    "release.json",
    RETRAINED,
)

T = TypeVar("T", bound=BaseModel)


class Tracked(BaseModel):
    """Which tracker has recorded a run, and under which id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tracker: str
    run_id: str


@dataclass
class Run:
    """A run directory with its configuration; nothing is written before a step does it.

    Attributes:
        config: of the run.
        console: where progress is told.
        parent: id of the tracked run that this one is nested in, of a search for example.
        loaded: the data set, where runs on the same images have it already.
        world: the processes that work on it together; this one alone in all steps but fit.
        name: of the tracked run; that of the model where there is none.
        study: directory of a search, with the decoded images and the split of all its trials.
    """

    config: TrainConfig
    console: Console
    parent: str | None = None
    loaded: Dataset | None = None
    world: World = field(default_factory=World)
    name: str | None = None
    study: Path | None = None

    @classmethod
    def open(cls, path: Path, overrides: Iterable[str], console: Console) -> "Run":
        """Find the run that fit has left in a directory.

        Raises:
            RunError: there is none.
            ConfigError: an override is wrong, or is of what fit has fixed.
        """
        file = path / CONFIG
        try:
            config = TrainConfig.model_validate_json(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{file} is missing; `python -m train fit` writes it") from None
        except ValidationError as error:
            raise ConfigError(f"{file}: {validation_message(error)}") from error
        changed = override_later(config, overrides)
        # The directory may have been moved since.
        return cls(changed.model_copy(update={"output": path}), console)

    @property
    def path(self) -> Path:
        return self.config.output

    @property
    def cache(self) -> Path:
        return (self.study or self.path) / CACHE

    @property
    def bundle_path(self) -> Path:
        return self.path / BUNDLE

    @cached_property
    def data(self) -> Dataset:
        """The data set, decoded; from the cache of an earlier step where it is unchanged."""
        if self.loaded is not None:
            return self.loaded
        bar, config = self.console.bar, _with_slices(self.config)
        fetching = bar("fetch", "files") if isinstance(config.root, str) else None

        def check(samples: Sequence[Sample], classes: Sequence[ClassInfo]) -> None:
            check_samples(samples, classes, config.split)
            check_slices(self.config.evaluate.slices, samples)
            batches_per_epoch(len(samples), self.config.loop, self.world.launch)

        def load() -> Dataset:
            decoding = bar("decode", "images")
            return load_dataset(config, self.cache, decoding, fetching, check)

        return self.world.first_on_its_machine(load)

    @cached_property
    def tracker(self) -> Tracker:
        """Where the steps are recorded; that it can be used is looked at here."""
        return make_tracker(self.config.tracking, self.path, self.console)

    @cached_property
    def parts(self) -> list[Part]:
        """The split that fit has saved."""
        return read_split(self.path / SPLIT, self.data.samples, self.data.classes)

    def images_for(self, rule: DecodeRule) -> npt.NDArray[np.uint8]:
        """All images, decoded by another rule than the run's own."""
        if rule == self.config.data.decode:
            return self.data.images
        config = self.config.data.model_copy(update={"decode": rule})
        return load_dataset(config, self.cache).images

    def indices(self, part: Part) -> npt.NDArray[np.int64]:
        return indices(self.parts, part)

    def network(self) -> Classifier:
        """The network with its best weights, in evaluation mode."""
        model = self.config.model
        network = build(model.architecture, len(self.data.classes), model.options)
        return load_weights(network, self.path / BEST)

    def check_writable(self) -> None:
        """Refuse an output folder that nothing can be written into, before any work is done.

        Raises:
            ConfigError: names the folder, and what the system says.
        """
        there = next(each for each in (self.path, *self.path.absolute().parents) if each.exists())
        try:
            # Whoever asks for permissions is told the wrong thing on some file systems.
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            raise ConfigError(
                f"config field output is {self.path}, which cannot be written: {error.strerror}"
            ) from error

    def begin(self) -> None:
        """Keep the configuration, and remove what an earlier training left here.

        That would pass for this one's results. Only files that the steps write are touched; the
        folder may hold the user's own as well.
        """
        for name in RESULTS:
            (self.path / name).unlink(missing_ok=True)
        if (self.bundle_path / MANIFEST).is_file():
            shutil.rmtree(self.bundle_path)
        for journal in journals(self.path / JOURNALS):
            if journal.complete:
                journal.remove()
            else:
                # Not a result: what is only there yet goes where it belongs first.
                self.console.say(
                    f"an earlier run here is not recorded wholly; `python -m train track replay "
                    f"--run {self.path}` sends what is missing"
                )
        self.keep_config()

    def keep_config(self) -> None:
        """Write the configuration, for the later steps."""
        self.write(CONFIG, dump_config(self.config))

    def write(self, name: str, content: str | BaseModel | dict[str, Any]) -> Path:
        """Write a text or JSON file of the run directory, whole or not at all."""
        if isinstance(content, BaseModel):
            content = content.model_dump_json(indent=2) + "\n"
        elif not isinstance(content, str):
            content = json.dumps(content, indent=2) + "\n"
        write_text(self.path / name, content)
        return self.path / name

    def read(self, name: str, schema: type[T], step: str) -> T:
        """Read a JSON file that an earlier step has written."""
        file = self.path / name
        try:
            return schema.model_validate_json(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{file} is missing; `python -m train {step}` writes it") from None
        except ValidationError as error:
            raise RunError(f"{file}: {validation_message(error)}") from error

    @contextmanager
    def tracked(self, begin: dict[str, dict[str, str]] | None = None) -> Iterator[Tracker]:
        """The run's tracker: a new run with `params` and `tags`, or that of the earlier step.

        However the step ends, the tracked run ends too. Of several processes, the first one
        records for all.
        """
        if not self.world.main:
            with self._standing_by() as nothing:
                yield nothing
            return
        wanted = self.config.tracking.tracker
        earlier = None if begin is not None else self.read(TRACKING, Tracked, "fit")
        if earlier is not None and earlier.tracker != wanted:
            raise RunError(
                f"tracking.tracker is {wanted!r}, but this run was begun with {earlier.tracker!r}"
            )
        tracker = self.tracker
        try:
            with ending(tracker):
                if earlier is not None:
                    tracker.resume(earlier.run_id)
                elif begin is not None:
                    run_id = tracker.begin(
                        self.name or self.config.name,
                        begin["params"],
                        begin["tags"],
                        self.parent,
                    )
                    self.write(TRACKING, Tracked(tracker=wanted, run_id=run_id))
                yield tracker
        finally:
            self.world.tell_ended()

    @contextmanager
    def _standing_by(self) -> Iterator[Tracker]:
        """What the other processes record to: nothing, unless the first one is lost.

        Then the second ends the tracked run in its place.
        """
        try:
            yield NoTracker()
        except PeerError as error:
            if self.world.rank == 1 and not self.world.main_has_ended(_MAIN_ENDS_S):
                # Where the run directory or the store cannot be reached from here, it stays open.
                with suppress(SightlineError):
                    tracker = make_tracker(self.config.tracking, self.path, self.console)
                    with ending(tracker):
                        tracker.resume(self.read(TRACKING, Tracked, "fit").run_id)
                        raise error
            raise


def _with_slices(config: TrainConfig) -> DataConfig:
    """The data with the columns that the evaluation slices by."""
    columns = config.data.columns
    names = dict.fromkeys([*columns.metadata, *(each.column for each in config.evaluate.slices)])
    read = columns.model_copy(update={"metadata": list(names)})
    return config.data.model_copy(update={"columns": read})
