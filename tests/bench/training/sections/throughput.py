"""The same network, images, batch and optimiser in three loops, from the second epoch on."""

from tests.bench.results import Samples
from tests.bench.training.goals import REFERENCE as OVER_REFERENCE
from tests.bench.training.goals import TIMM as OVER_TIMM
from tests.bench.training.goals import by_network
from tests.bench.training.measure import OURS, REFERENCE, RIVALS, TIMM, Bench

_KEYS = {REFERENCE: OVER_REFERENCE, TIMM: OVER_TIMM}


def measure(bench: Bench, network: str) -> None:
    """Each rival with as many workers as suit it best."""
    setting = bench.scale.networks[network]
    task = bench.task(setting)
    rivals = [bench.best_of(name, task, bench.scale.workers) for name in RIVALS]
    samples = Samples()
    with bench.started([bench.loop(OURS, task), *rivals]) as contenders:
        for number in range(setting.rounds):
            speeds = {
                each.loop.name: bench.turn(each, number).images_per_second for each in contenders
            }
            for name, key in _KEYS.items():
                samples.add(by_network(key, network), speeds[OURS] / speeds[name])
    bench.keep(samples)
