"""Seconds until a macro-F1 is reached on validation, decoding and validation included."""

from collections.abc import Sequence

from tests.bench.results import Samples
from tests.bench.training.contender import Loop
from tests.bench.training.goals import BASELINE
from tests.bench.training.measure import OURS, REFERENCE, RIVALS, Bench

_LEARNING_RATE, _WARMUP_EPOCHS = 3e-3, 4
_BATCH = 16
# By default a random crop may leave out the very lesion that makes the class.
_LEAST_AREA = 0.8


def measure(bench: Bench) -> None:
    """Once each: a training that is repeated would be the same training."""
    scale = bench.scale
    setting = scale.networks[BASELINE]
    task = bench.task(
        setting,
        root=str(bench.images(scale.judged_images, scale.judged_images // 4)),
        batch=min(_BATCH, setting.batch),
        epochs=scale.judged_epochs,
        learning_rate=_LEARNING_RATE,
        warmup_epochs=min(_WARMUP_EPOCHS, scale.judged_epochs - 1),
        least_area=_LEAST_AREA,
        judged=True,
    )
    # What `baseline` finds best for both; to find it anew would take longer than the training.
    rivals = [bench.best_of(name, task, scale.workers[-1:]) for name in RIVALS]
    loops: Sequence[Loop] = [bench.loop(OURS, task), *rivals]
    seconds = {loop.name: _seconds(bench, loop) for loop in loops}
    ours = seconds[OURS]
    samples = Samples()
    for name in RIVALS:
        theirs = seconds[name]
        key = "reference" if name == REFERENCE else "timm_style"
        if ours is not None and theirs is not None:
            samples.add(f"time_to_f1_over_{key}", theirs / ours)
    bench.keep(samples)


def _seconds(bench: Bench, loop: Loop) -> float | None:
    """None where the macro-F1 is not reached within the schedule."""
    seconds = best = 0.0
    with bench.contender(loop) as contender:
        for number in range(bench.scale.judged_epochs):
            turn = bench.turn(contender, number)
            seconds += turn.epoch.seconds
            best = max(best, turn.epoch.macro_f1 or 0.0)
            if best >= bench.scale.macro_f1:
                bench.note(
                    f"{loop.name} reached macro-F1 {best:.3f} after {number + 1} epochs, "
                    f"{seconds:.1f} s"
                )
                return seconds
    bench.note(f"{loop.name} did not reach {bench.scale.macro_f1}; its best was {best:.3f}")
    return None
