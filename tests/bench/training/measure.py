"""One measurement after the other, in rounds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.bench.recorder import Recorder, say
from tests.bench.results import Results
from tests.bench.training.contender import Contender, Loop, Turn
from tests.bench.training.goals import BASELINE, RESNET18
from tests.bench.training.results import Row
from tests.bench.training.source import Source
from tests.bench.training.task import Task

OURS, REFERENCE, TIMM, BARE = "sightline", "reference style", "timm style", "bare"
RIVALS = (REFERENCE, TIMM)


@dataclass(frozen=True)
class Setting:
    """A network as it is measured.

    Attributes:
        architecture: its name.
        side_px: of its input.
        batch: images per step.
        steps: of an epoch.
        rounds: of a comparison.
        options: of the architecture.
    """

    architecture: str
    side_px: int
    batch: int
    steps: int
    rounds: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        networks: by name.
        file_px: side of the JPEG files.
        workers: that the rivals may have on a CPU; the best for each counts.
        gpu_workers: the same where there is a GPU.
        gpu: the network that is trained on one.
        val_images: as few as there may be where validation does not count.
        memory_epochs: after which the growth of memory is looked at, from the first to the last.
        kills: of a training, to see what each loses.
        checkpoint_s: between two saves of the training that is killed.
        judged_images: for training, and a quarter as many for validation, where the time to a
            macro-F1 counts.
        judged_epochs: of its schedule.
        macro_f1: that is to be reached.
    """

    networks: Mapping[str, Setting]
    gpu: Setting
    file_px: int = 1024
    workers: tuple[int, ...] = (0, 1, 2)
    gpu_workers: tuple[int, ...] = (4, 8, 16)
    val_images: int = 3
    memory_epochs: tuple[int, int] = (10, 50)
    kills: int = 5
    checkpoint_s: float = 1.0
    judged_images: int = 600
    judged_epochs: int = 40
    macro_f1: float = 0.85

    def with_rounds(self, rounds: int) -> "Scale":
        """The same, with other than the usual rounds."""
        networks = {
            name: replace(setting, rounds=rounds) for name, setting in self.networks.items()
        }
        return replace(self, networks=networks, gpu=replace(self.gpu, rounds=rounds), kills=rounds)


# The small network as the demo has it: its input, its options.
FULL = Scale(
    networks={
        BASELINE: Setting("baseline", 128, 32, 16, 5, {"depth": 3, "width": 32}),
        RESNET18: Setting("resnet18", 224, 32, 6, 4),
    },
    gpu=Setting("resnet50", 224, 128, 40, 3),
)
_TINY = Setting("baseline", 32, 4, 2, 1, {"depth": 1, "width": 4})
QUICK = Scale(
    networks={BASELINE: _TINY, RESNET18: _TINY},
    gpu=_TINY,
    file_px=96,
    workers=(0, 1),
    gpu_workers=(0,),
    memory_epochs=(2, 3),
    kills=1,
    checkpoint_s=0.05,
    judged_images=12,
    judged_epochs=2,
    macro_f1=0.1,
)


class Bench(Recorder[Row]):
    """What the sections measure with.

    Args:
        scale: how much.
        results: where it goes.
    """

    def __init__(self, scale: Scale, results: Results[Row]) -> None:
        super().__init__(results)
        self.scale = scale

    @property
    def scratch(self) -> Path:
        return self.results.directory / "training"

    def task(self, setting: Setting, **changes: Any) -> Task:
        """A network on as many images as its epochs have."""
        return Task(
            **{
                "root": str(self.images(setting.batch * setting.steps, self.scale.val_images)),
                "scratch": "",
                "network": setting.architecture,
                "options": setting.options,
                "side_px": setting.side_px,
                "batch": setting.batch,
                **changes,
            }
        )

    def images(self, train: int, val: int) -> Path:
        """Root of generated images."""
        return Source(train, val, self.scale.file_px).write(self.scratch / "images").resolve()

    def loop(self, name: str, task: Task, detail: str = "") -> Loop:
        directory = "-".join([name, task.network, detail]).replace(" ", "-")
        scratch = str((self.scratch / "runs" / directory).resolve())
        return Loop(name, replace(task, scratch=scratch), detail)

    @contextmanager
    def started(self, loops: Sequence[Loop]) -> Iterator[list[Contender]]:
        """Start loops one after the other, and let each train an epoch that does not count."""
        with ExitStack() as stack:
            contenders = []
            for loop in loops:
                contender = stack.enter_context(self.contender(loop))
                seconds = contender.turn().epoch.seconds
                say(f"  {loop.name} {loop.detail}: first epoch {seconds:.1f} s")
                contenders.append(contender)
            yield contenders

    def contender(self, loop: Loop) -> Contender:
        return Contender(loop, self.results.directory / "logs")

    def turn(self, contender: Contender, number: int, device: str = "cpu") -> Turn:
        """Let a loop train an epoch, and keep what comes of it."""
        turn, loop = contender.turn(), contender.loop
        self.add(
            Row(
                section=self.section,
                round=number,
                loop=loop.name,
                network=loop.task.network,
                detail=loop.detail,
                device=device,
                images_per_second=round(turn.images_per_second, 2),
                seconds=round(turn.epoch.seconds, 3),
                cpu_ms_per_image=round(1e3 * turn.cpu_s / turn.epoch.images, 3),
                rss_mb=round(turn.rss_mb, 1),
                gpu_peak_mb=turn.epoch.gpu_peak_mb,
                macro_f1=turn.epoch.macro_f1 if loop.task.judged else None,
            )
        )
        return turn

    def best_of(self, name: str, task: Task, workers: Sequence[int], device: str = "cpu") -> Loop:
        """A rival with the number of workers that it is fastest with."""
        if len(workers) == 1:
            return self.loop(name, replace(task, workers=workers[0]), f"{workers[0]} workers")
        speeds: dict[int, float] = {}
        for count in workers:
            loop = self.loop(name, replace(task, workers=count), f"{count} workers")
            with self.started([loop]) as (contender,):
                speeds[count] = contender.turn().images_per_second
        best = max(speeds, key=lambda count: speeds[count])
        shown = ", ".join(f"{count}: {speed:.1f}" for count, speed in speeds.items())
        self.note(f"{name}, {task.network}: images/s by workers {shown}; {best} taken")
        return self.loop(name, replace(task, workers=best), f"{best} workers")

    def add(self, row: Row) -> Row:
        self.results.rows.append(row)
        speed = "" if row.images_per_second is None else f"{row.images_per_second:8.1f} images/s"
        cpu = "" if row.cpu_ms_per_image is None else f"CPU {row.cpu_ms_per_image:6.2f} ms/image"
        judged = "" if row.macro_f1 is None else f"macro-F1 {row.macro_f1:.3f}"
        say(
            f"  {row.round} {row.loop:16} {row.network:10} {row.detail:22} {row.seconds:7.2f} s"
            f" {speed:18} {cpu:22} RSS {row.rss_mb:6.0f} MB {judged}"
        )
        return row
