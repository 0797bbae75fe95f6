"""What the map and the overlay cost, and what Grad-CAM costs by autograd."""

from functools import partial
from statistics import median

from tests.bench.results import Samples
from tests.bench.serving import gradcam
from tests.bench.serving.images import Picture
from tests.bench.serving.measure import Bench
from tests.bench.serving.requests import v2_image
from tests.bench.serving.sections.throughput import LARGE, PINNED
from tests.bench.serving.servers import sightline

_OUTPUTS = {
    "probabilities": ["probabilities"],
    "and cam": ["probabilities", "cam"],
    "and overlay": ["probabilities", "overlay"],
}
# Differences of some per cent are looked for.
_WINDOWS = 3


def measure(bench: Bench) -> None:
    """Requests with and without an explanation, in turns; then both ways in process."""
    architecture = bench.scale.architectures[0]
    bundle = bench.bundle(architecture)
    users = bench.many[0]
    samples = Samples()
    with bench.started([sightline("sightline fp32", bundle.path, *PINNED)]) as running:
        (server,) = running.values()
        for turn in range(bench.scale.short_rounds):
            speeds = {}
            for image, outputs in _OUTPUTS.items():
                encode = partial(_encode, outputs=outputs)
                requests = [encode(picture) for picture in bench.pictures(LARGE)]
                window_s = _WINDOWS * bench.scale.window_s
                row = bench.row(
                    server, server.server.name, turn, image, requests, users, window_s=window_s
                )
                speeds[image] = row.requests_per_second
            samples.add("cam_cost", speeds["probabilities"] / speeds["and cam"])
            samples.add("overlay_cost", speeds["probabilities"] / speeds["and overlay"])
    for found in gradcam.measure(architecture, bundle.path, bench.scale.rounds):
        samples.add("cam_speedup_over_grad_cam", median(found.theirs_s) / median(found.ours_s))
    bench.keep(samples)


def _encode(picture: Picture, outputs: list[str]) -> bytes:
    return v2_image("/v2/models/bench/infer", picture, outputs)
