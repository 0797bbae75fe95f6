"""What is true of a simulated rollout."""

from dataclasses import dataclass, field, replace
from typing import Literal

from k8s.rollout.policy import Policy


@dataclass(frozen=True)
class Model:
    """How one side answers.

    Attributes:
        error_ratio: share of requests that end with 5xx in calm times.
        slow: its latencies over the primary's.
        tail_share, tail_slow: share of requests that take that many times as long.
        decode_failure_ratio: share of requests refused for their image.
        mix: share of each class.
        confidence: mean.
        abstention: share of images.
    """

    error_ratio: float = 0.01
    slow: float = 1.0
    tail_share: float = 0.01
    tail_slow: float = 3.0
    decode_failure_ratio: float = 0.005
    mix: tuple[float, ...] = (0.45, 0.25, 0.15, 0.10, 0.05)
    confidence: float = 0.88
    abstention: float = 0.05


@dataclass(frozen=True)
class Scenario:
    """One kind of rollout.

    Attributes:
        name: of the kind.
        worse: the target must not be promoted.
        target: how it answers.
        primary: how the old model does.
        late_percent: the target differs only from this weight on.
        per_s: least and most requests per second in the mean, drawn anew for each rollout.
        bursts: how often an hour arrivals triple for two minutes.
        shared_incidents: how often an hour both sides fail and slow down together for a minute.
        pod_incidents: how often an hour each pod by itself fails a third of its requests for 20 s.
        node_spread: standard deviation of the log of what a pod's node does to its latency.
        mirrored: share of the requests that the target gets a copy of at 0 %.
        ready: "never" and "crash" (ten minutes into the rollout) as they say.
        policy: the rules.
    """

    name: str
    worse: bool
    target: Model = field(default_factory=Model)
    primary: Model = field(default_factory=Model)
    late_percent: int = 0
    per_s: tuple[float, float] = (20.0, 80.0)
    bursts: float = 0.5
    shared_incidents: float = 0.25
    pod_incidents: float = 0.0
    node_spread: float = 0.02
    mirrored: float = 0.0
    ready: Literal["soon", "never", "crash"] = "soon"
    policy: Policy = field(default_factory=Policy)


_SAME = Model()
_CLEAN = Model(error_ratio=0.0)
_PROBING = Policy(on_silence="probe")
_LOW = (0.05, 0.5)

SCENARIOS = (
    Scenario("no_difference", worse=False),
    Scenario("no_difference_without_errors", worse=False, primary=_CLEAN, target=_CLEAN),
    Scenario("no_difference_mirrored", worse=False, mirrored=0.2),
    Scenario("slower_by_3_percent", worse=False, target=replace(_SAME, slow=1.03)),
    Scenario("bursts", worse=False, bursts=6.0, shared_incidents=3.0),
    Scenario("pods_fail_for_moments", worse=False, pod_incidents=0.5),
    Scenario("uneven_nodes", worse=False, node_spread=0.05),
    Scenario("low_traffic", worse=False, per_s=_LOW),
    Scenario("low_traffic_probed", worse=False, per_s=_LOW, policy=_PROBING),
    Scenario("errors_doubled", worse=True, target=replace(_SAME, error_ratio=0.02)),
    Scenario(
        "errors_doubled_in_bursts",
        worse=True,
        target=replace(_SAME, error_ratio=0.02),
        bursts=6.0,
        shared_incidents=3.0,
    ),
    Scenario(
        "errors_from_none",
        worse=True,
        primary=_CLEAN,
        target=replace(_CLEAN, error_ratio=0.01),
    ),
    Scenario(
        "errors_doubled_from_25_percent",
        worse=True,
        target=replace(_SAME, error_ratio=0.02),
        late_percent=25,
    ),
    Scenario("fails_always", worse=True, target=replace(_SAME, error_ratio=1.0)),
    Scenario("slower_by_20_percent", worse=True, target=replace(_SAME, slow=1.2)),
    Scenario("tail_twice_as_slow", worse=True, target=replace(_SAME, tail_share=0.03, tail_slow=5)),
    Scenario(
        "class_collapsed", worse=True, target=replace(_SAME, mix=(0.45, 0.40, 0.0, 0.10, 0.05))
    ),
    Scenario(
        "rare_class_collapsed",
        worse=True,
        primary=replace(_SAME, mix=(0.45, 0.25, 0.14, 0.10, 0.06)),
        target=replace(_SAME, mix=(0.49, 0.26, 0.15, 0.10, 0.0)),
    ),
    Scenario("confidence_fell", worse=True, target=replace(_SAME, confidence=0.80)),
    Scenario("abstention_doubled", worse=True, target=replace(_SAME, abstention=0.10)),
    Scenario("decode_failures", worse=True, target=replace(_SAME, decode_failure_ratio=0.04)),
    Scenario(
        "errors_doubled_at_low_traffic",
        worse=True,
        per_s=_LOW,
        target=replace(_SAME, error_ratio=0.02),
    ),
    Scenario(
        "errors_doubled_probed",
        worse=True,
        per_s=_LOW,
        target=replace(_SAME, error_ratio=0.02),
        policy=_PROBING,
    ),
    Scenario("never_ready", worse=True, ready="never"),
    Scenario("crashes", worse=True, ready="crash"),
)
