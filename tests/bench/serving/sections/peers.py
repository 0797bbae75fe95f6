"""All rivals in the same rounds, those included that `make bench-peers` installs."""

from tests.bench.serving.measure import Bench
from tests.bench.serving.sections.engines import shipped_over_rivals
from tests.bench.serving.sections.throughput import LARGE, LARGE_JPEG, OURS, PINNED, alone
from tests.bench.serving.servers import fastapi, kserve, peers, sightline

_FEWER_ROUNDS = 1


def measure(bench: Bench) -> None:
    """Throughput and latency on the same FP32 graph, then the predictor as shipped."""
    rounds = max(1, bench.scale.rounds - _FEWER_ROUNDS)
    bundle = bench.bundle(bench.scale.architectures[0])
    graph = bundle.path / "model.onnx"
    ours = sightline(OURS, bundle.path, *PINNED)
    servers = [ours, fastapi(graph), kserve(graph), *peers(graph)]
    with bench.started(servers) as running:
        for turn in range(rounds):
            alone(bench, turn, bundle.path)
            for users in bench.scale.concurrencies:
                bench.turn(running, servers, turn, LARGE_JPEG, LARGE, users)
    bundle = bench.bundle(bench.scale.architectures[1])
    graph = bundle.path / "model.onnx"
    shipped_over_rivals(bench, bundle, [fastapi(graph), kserve(graph), *peers(graph)], rounds)
