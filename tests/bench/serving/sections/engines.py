"""The predictor as it is shipped: the choice it makes at start, and how good it is."""

import json
from collections.abc import Mapping, Sequence
from statistics import median

from model.bundle import Bundle
from predictor.engine import ENGINES
from tests.bench.recorder import say
from tests.bench.results import Samples
from tests.bench.serving.measure import Bench
from tests.bench.serving.sections.throughput import LARGE, LARGE_JPEG
from tests.bench.serving.servers import Running, Server, fastapi, kserve, sightline

AUTO = "sightline as shipped"
_FEW = 2


def measure(bench: Bench) -> None:
    """`--engine auto` against every choice by hand, for two networks that differ in their best."""
    _, large, small = bench.scale.architectures
    ratios = {name: _auto_over_best(bench, name) for name in dict.fromkeys((large, small))}
    worst = min(ratios, key=lambda name: median(ratios[name]))
    samples = Samples()
    for ratio in ratios[worst]:
        samples.add("auto_over_best", ratio)
    bench.keep(samples)
    bundle = bench.bundle(large)
    graph = bundle.path / "model.onnx"
    shipped_over_rivals(bench, bundle, [fastapi(graph), kserve(graph)], bench.scale.rounds)


def shipped_over_rivals(
    bench: Bench, bundle: Bundle, rivals: Sequence[Server], rounds: int
) -> None:
    """The predictor as shipped against the rivals with the FP32 graph, each at its best load."""
    servers = [sightline(AUTO, bundle.path), *rivals]
    loads = bench.many[:_FEW]
    with bench.started(servers) as running:
        speeds = _speeds(bench, bundle, servers, running, loads, rounds)
    best = max((rival.name for rival in rivals), key=lambda name: median(speeds[name]))
    samples = Samples()
    for mine, theirs in zip(speeds[AUTO], speeds[best], strict=True):
        samples.add("shipped_over_best_rival", mine / theirs)
    bench.keep(samples)
    names = ", ".join(rival.name for rival in rivals)
    bench.note(f"the best rival was {best}, of {names}")


def _auto_over_best(bench: Bench, architecture: str) -> list[float]:
    bundle = bench.bundle(architecture)
    servers = [sightline(AUTO, bundle.path), *_by_hand(bench, bundle)]
    loads = bench.many[:1]
    with bench.started(servers) as running:
        chosen = _chosen(running[AUTO])
        speeds = _speeds(bench, bundle, servers, running, loads, bench.scale.rounds)
    by_hand = [server.name for server in servers[1:]]
    best = max(by_hand, key=lambda name: median(speeds[name]))
    bench.note(f"{architecture}: auto chose {chosen}, the best by hand was {best}")
    return [mine / theirs for mine, theirs in zip(speeds[AUTO], speeds[best], strict=True)]


def _by_hand(bench: Bench, bundle: Bundle) -> list[Server]:
    """Every engine and artefact that starts here, having passed its self-test."""
    found = []
    for name, kind in ENGINES.items():
        for precision in kind.artefacts:
            if precision in bundle.precisions:
                flags = ("--engine", name, "--precision", precision, "--device", "cpu")
                server = sightline(f"{name} {precision}", bundle.path, *flags)
                if _starts(bench, server):
                    found.append(server)
                else:
                    say(f"  {bundle.manifest.name}: {server.name} is not eligible")
    return found


def _starts(bench: Bench, server: Server) -> bool:
    try:
        with bench.started([server]):
            return True
    except RuntimeError:
        return False


def _speeds(
    bench: Bench,
    bundle: Bundle,
    servers: Sequence[Server],
    running: Mapping[str, Running],
    loads: Sequence[int],
    rounds: int,
) -> dict[str, list[float]]:
    """Requests per second of each server, one a round, at the load that suits it best."""
    image = f"{LARGE_JPEG}, {bundle.manifest.name}"
    speeds: dict[str, list[float]] = {server.name: [] for server in servers}
    for turn in range(rounds):
        found: dict[str, list[float]] = {server.name: [] for server in servers}
        for users in loads:
            for row in bench.turn(running, servers, turn, image, LARGE, users):
                found[row.server].append(row.requests_per_second)
        for name, each in found.items():
            speeds[name].append(max(each))
    return speeds


def _chosen(running: Running) -> str:
    for line in running.log().splitlines():
        if line.startswith("{") and '"model loaded"' in line:
            entry = json.loads(line)
            return f"{entry['engine']} {entry['precision']}"
    return "unknown"
