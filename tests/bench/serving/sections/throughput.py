"""The same FP32 graph in ONNX Runtime everywhere: what is left is what a server costs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from tests.bench.results import Samples
from tests.bench.serving import ideal
from tests.bench.serving.measure import Bench
from tests.bench.serving.results import Row
from tests.bench.serving.servers import Running, fastapi, kserve, kserve_v2, sightline, v2_uint8

LARGE, SMALL = 1024, 224
LARGE_JPEG, SMALL_JPEG, TENSOR = f"{LARGE}² JPEG", f"{SMALL}² JPEG", "tensor"
OURS, IDEAL = "sightline fp32", "in-process ideal"
PINNED = ("--engine", "onnxruntime", "--precision", "fp32")

_OURS_V2 = "sightline v2 uint8"
_KINDS = ("UINT8", "FP32")
_PEAK_SHARE = 0.7
_OPEN_LOOP_WINDOWS = 3
_KEPT_UP = 0.95


def measure(bench: Bench) -> None:
    """JPEGs and raw tensors in closed loops, then JPEGs in an open loop."""
    bundle = bench.bundle(bench.scale.architectures[0])
    graph = bundle.path / "model.onnx"
    ours, plain, sample = (
        sightline(OURS, bundle.path, *PINNED),
        fastapi(graph),
        kserve(graph),
    )
    files = [ours, plain, sample]
    # The same processes, asked in another way.
    ours_v2 = replace(ours, name=_OURS_V2, encode=v2_uint8)
    theirs_v2 = [replace(sample, name=_v2_name(kind), encode=kserve_v2(kind)) for kind in _KINDS]
    loads = bench.scale.concurrencies
    samples = Samples()
    over_ideal: dict[int, list[float]] = {users: [] for users in bench.many}
    with bench.started(files) as running:
        running[ours_v2.name] = running[ours.name]
        running |= {each.name: running[sample.name] for each in theirs_v2}
        for turn in range(bench.scale.rounds):
            rows, limits = [], {}
            for users in loads:
                # Next to what is divided by it: a machine's speed drifts within minutes.
                limits[users] = alone(bench, turn, bundle.path)
                rows += bench.turn(running, files, turn, LARGE_JPEG, LARGE, users)
            for users in loads:
                rows += bench.turn(running, files, turn, SMALL_JPEG, SMALL, users)
            # At 100 users the SDK would need a minute for each round of its answers.
            for users in loads[:2]:
                rows += bench.turn(running, [ours_v2, *theirs_v2], turn, TENSOR, SMALL, users)
            for key, value in _ratios(rows, bench.many).items():
                samples.add(key, value)
            speeds = _speeds(rows, OURS, LARGE_JPEG)
            for users, ratios in over_ideal.items():
                ratios.append(speeds[users] / limits[users].requests_per_second)
            samples.add("latency_over_inprocess", _latency_ms(rows) / (limits[1].p50_ms or 1.0))
            _open_loop(bench, running, rows, turn, samples)
    # It is to hold at every load: the one where it is least counts.
    for ratio in min(over_ideal.values(), key=median):
        samples.add("throughput_over_ideal", ratio)
    bench.keep(samples)


def alone(bench: Bench, turn: int, bundle: Path) -> Row:
    """Decode and infer in process."""
    jpegs = tuple(picture.jpeg for picture in bench.pictures(LARGE))
    task = ideal.Task(bundle, "onnxruntime", "fp32", jpegs, bench.scale.window_s)
    return bench.alone(turn, IDEAL, LARGE_JPEG, ideal.measure(task))


def _ratios(rows: Sequence[Row], many: Sequence[int]) -> dict[str, float]:
    """Over other servers in one round: the middle of the loads by many users."""
    ours, plain = _speeds(rows, OURS, LARGE_JPEG), _speeds(rows, "fastapi", LARGE_JPEG)
    small, small_plain = (_speeds(rows, name, SMALL_JPEG) for name in (OURS, "fastapi"))
    sample = _speeds(rows, "kserve sample", LARGE_JPEG)
    tensors = _speeds(rows, _OURS_V2, TENSOR)
    theirs = [_speeds(rows, _v2_name(kind), TENSOR) for kind in _KINDS]

    def middle(mine: Mapping[int, float], other: Mapping[int, float]) -> float:
        return median(mine[users] / other[users] for users in many if users in mine)

    return {
        "throughput_over_fastapi_1024": middle(ours, plain),
        "throughput_over_fastapi_224": middle(small, small_plain),
        "throughput_over_kserve_sample": middle(ours, sample),
        "v2_binary_over_kserve": min(middle(tensors, each) for each in theirs),
    }


def _open_loop(
    bench: Bench, running: Mapping[str, Running], rows: Sequence[Row], turn: int, samples: Samples
) -> None:
    """Each server at 70 % of what it did at its best."""
    for name in (OURS, "fastapi", "kserve sample"):
        rate = _PEAK_SHARE * max(_speeds(rows, name, LARGE_JPEG).values())
        row = bench.row(
            running[name],
            name,
            turn,
            LARGE_JPEG,
            bench.requests(running[name].server, LARGE),
            0,
            rate=rate,
            window_s=_OPEN_LOOP_WINDOWS * bench.scale.window_s,
        )
        if name == OURS and row.p50_ms and row.p99_ms:
            # Of a server that falls behind everybody waits alike, which would look like evenness.
            behind = row.errors or row.requests_per_second < _KEPT_UP * rate
            usual_ms = _latency_ms(rows) if behind else row.p50_ms
            samples.add("p99_over_p50", row.p99_ms / usual_ms)


def _latency_ms(rows: Sequence[Row]) -> float:
    """Of one user."""
    (latency_ms,) = (
        row.p50_ms or 0.0
        for row in rows
        if (row.server, row.image, row.concurrency) == (OURS, LARGE_JPEG, 1)
    )
    return latency_ms


def _v2_name(kind: str) -> str:
    return f"kserve v2 {kind.lower()}"


def _speeds(rows: Sequence[Row], server: str, image: str) -> dict[int, float]:
    """Requests per second by concurrency."""
    alike = [row for row in rows if (row.server, row.image) == (server, image)]
    return {row.concurrency: row.requests_per_second for row in alike}
