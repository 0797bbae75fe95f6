"""resnet50 on a GPU: the whole of our loop against the same network on resident data."""

from statistics import median

from tests.bench.results import Samples
from tests.bench.training.measure import BARE, OURS, REFERENCE, Bench

_AMP, _SINGLE, _COMPILED = "AMP", "single precision", "AMP, compiled"


def measure(bench: Bench) -> None:
    """Left out, with a word, where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        bench.note("left out: torch finds no GPU")
        return
    compare(bench, "cuda", torch.cuda.get_device_name())


def compare(bench: Bench, device: str, name: str) -> None:
    """All of it on a device of this name."""
    setting = bench.scale.gpu
    amp = bench.task(setting, device=device, amp=True)
    single = bench.task(setting, device=device)
    compiled = bench.task(setting, device=device, amp=True, compiled=True)
    loops = [
        bench.loop(OURS, amp, _AMP),
        bench.loop(OURS, single, _SINGLE),
        bench.loop(OURS, compiled, _COMPILED),
        bench.loop(BARE, amp, _AMP),
        bench.best_of(REFERENCE, amp, bench.scale.gpu_workers, name),
    ]
    samples = Samples()
    peaks_mb = []
    with bench.started(loops) as contenders:
        for number in range(setting.rounds):
            ours, alone, faster, bare, theirs = (
                bench.turn(each, number, name) for each in contenders
            )
            speed = ours.images_per_second
            samples.add("gpu.images_per_second", speed)
            samples.add("gpu.over_synthetic", speed / bare.images_per_second)
            samples.add("gpu.over_reference", speed / theirs.images_per_second)
            samples.add("gpu.amp_speedup", speed / alone.images_per_second)
            samples.add("gpu.compile_speedup", faster.images_per_second / speed)
            if ours.epoch.gpu_peak_mb is not None:
                peaks_mb.append(ours.epoch.gpu_peak_mb)
    if peaks_mb:
        samples.add("gpu.peak_memory_mb", median(peaks_mb))
    bench.keep(samples)
