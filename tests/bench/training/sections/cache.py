"""What the cache of decoded images is worth: the same loop with it and without."""

from tests.bench.results import Samples
from tests.bench.training.goals import BASELINE
from tests.bench.training.measure import OURS, Bench


def measure(bench: Bench) -> None:
    """Without it the files are decoded anew in every epoch, in threads, by the same decoder."""
    setting = bench.scale.networks[BASELINE]
    loops = [
        bench.loop(OURS, bench.task(setting, decode_always=decode), detail)
        for detail, decode in (("cached", False), ("uncached", True))
    ]
    samples = Samples()
    with bench.started(loops) as contenders:
        for number in range(setting.rounds):
            cached, uncached = (bench.turn(each, number).images_per_second for each in contenders)
            samples.add("cache_speedup", cached / uncached)
    bench.keep(samples)
