"""What our loop takes beyond the arithmetic that no loop can do without."""

from tests.bench.results import Samples
from tests.bench.training.goals import BASELINE
from tests.bench.training.measure import BARE, OURS, Bench

_STILL, _CHANGED = "unchanged images", "augmented"


def measure(bench: Bench) -> None:
    """An epoch of unchanged images, with all that surrounds it, over as many bare steps.

    Of the small network, where it weighs most. Augmentation is asked for and is work of its own;
    what it adds is a note.
    """
    setting = bench.scale.networks[BASELINE]
    task = bench.task(setting)
    loops = [
        bench.loop(OURS, bench.task(setting, augment=False), _STILL),
        bench.loop(OURS, task, _CHANGED),
        bench.loop(BARE, task),
    ]
    samples = Samples()
    augmented = Samples()
    with bench.started(loops) as contenders:
        for number in range(setting.rounds):
            still, changed, bare = (
                bench.turn(each, number).images_per_second for each in contenders
            )
            samples.add("loop_overhead", bare / still)
            augmented.add("loop_overhead_augmented", bare / changed)
    bench.keep(samples)
    bench.keep(augmented)
