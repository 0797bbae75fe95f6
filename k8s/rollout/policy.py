"""What a rollout may do, and what it takes for an offence."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Ratio = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[int, Field(ge=0, le=100)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rate(Strict):
    """Offences of a share of the requests or images: the larger of a difference and a ratio."""

    margin: Ratio = Field(description="Rise of the share, absolute, up to which it is tolerated.")
    margin_ratio: float = Field(
        ge=1, le=100, description="Target over primary, up to which the share is tolerated."
    )
    intolerable: Ratio = Field(
        gt=0, description="Rise of the share, absolute, that a step must have been able to see."
    )
    intolerable_ratio: float = Field(
        gt=1, le=100, description="Target over primary that a step must have been able to see."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _below("margin", self.margin, "intolerable", self.intolerable)
        _below("margin_ratio", self.margin_ratio, "intolerable_ratio", self.intolerable_ratio)
        return self


class Slowdown(Strict):
    """Offences of a latency."""

    margin_ratio: float = Field(
        ge=1, le=100, description="Target over primary, up to which the latency is tolerated."
    )
    intolerable_ratio: float = Field(
        gt=1, le=100, description="Target over primary that a step must have been able to see."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _below("margin_ratio", self.margin_ratio, "intolerable_ratio", self.intolerable_ratio)
        return self


class Confidence(Strict):
    """Offences of the mean confidence."""

    margin: Ratio = Field(0.03, description="Fall of the mean confidence that is tolerated.")
    intolerable: Ratio = Field(
        0.08, gt=0, description="Fall of the mean confidence that a step must be able to see."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _below("margin", self.margin, "intolerable", self.intolerable)
        return self


class Classes(Strict):
    """Offences of the mix of predicted classes."""

    margin: Ratio = Field(
        0.10, description="Total variation distance between both mixes that is tolerated."
    )
    collapsed_ratio: float = Field(
        0.25, ge=0, lt=1, description="Target's share of a class over primary's: at most is a loss."
    )
    lost_ratio: float = Field(
        0.10, ge=0, lt=1, description="The same that a step must have been able to see."
    )
    smallest_share: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Primary's share of a class from which its loss is looked for.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _below("lost_ratio", self.lost_ratio, "collapsed_ratio", self.collapsed_ratio)
        return self


class Guards(Strict):
    """What ends a rollout at once, without waiting for a test."""

    requests: int = Field(20, ge=5, le=10_000, description="Requests of the target to judge by.")
    error_ratio: Ratio = Field(
        0.50, gt=0, description="Target's share of errors that is surely exceeded."
    )
    decode_failure_ratio: Ratio = Field(
        0.50, gt=0, description="Target's share of unreadable images that is surely exceeded."
    )
    latency_ratio: float = Field(
        3.0, gt=1, le=1000, description="Median latency over primary's in several windows on end."
    )
    windows: int = Field(3, ge=1, le=100, description="How many windows on end.")


class Probe(Strict):
    """Requests with reference inputs, sent to both sides alike."""

    requests_per_look: int = Field(50, ge=1, le=10_000, description="At most, between two looks.")
    requests_per_step: int = Field(10_000, ge=1, le=1_000_000, description="At most, in a step.")


class Policy(Strict):
    """How a rollout is decided. Every figure is the user's; the defaults are what is simulated."""

    steps: tuple[Percent, ...] = Field(
        (0, 5, 25, 50, 100),
        description="Shares of the requests, rising, in per cent. The last is 100: promotion.",
    )
    min_requests: int = Field(
        200,
        ge=1,
        le=10_000_000,
        description="Requests that each side has in a step before it may end.",
    )
    min_step_s: float = Field(300, ge=0, le=604_800, description="Shortest time of a step.")
    max_step_s: float = Field(7200, gt=0, le=2_592_000, description="When a step is overdue.")
    at_max_step: Literal["hold", "rollback"] = Field(
        "hold", description="What an overdue step that lacks evidence comes to."
    )
    settle_s: float = Field(
        30, ge=0, le=3600, description="After each change of weights, what is seen is not compared."
    )
    on_silence: Literal["hold", "probe"] = Field(
        "hold", description="Without enough requests: wait, or send reference inputs to both."
    )
    silence_s: float = Field(
        120,
        ge=0,
        le=86_400,
        description="How long a step is watched before its pace is judged too slow to end in time.",
    )
    probe: Probe = Field(description="Requests with reference inputs.", default_factory=Probe)
    readiness_s: float = Field(
        900, gt=0, le=86_400, description="How long the target may be not ready, at once."
    )
    max_unready: int = Field(
        5, ge=1, le=1000, description="How often it may cease to be ready in one rollout."
    )
    false_alarm_rate: float = Field(
        0.02,
        gt=0,
        le=0.2,
        description="Chance that a target that is no worse is rolled back by the tests, in all.",
    )
    power: float = Field(
        0.95,
        ge=0.5,
        lt=1,
        description="Chance that a step which may end would have shown an intolerable target.",
    )
    window_s: float = Field(
        30, ge=5, le=3600, description="Least time of a window in which both sides are compared."
    )
    window_requests: int = Field(
        30, ge=5, le=100_000, description="Requests of each side that a window has at least."
    )
    tail_requests: int = Field(
        200, ge=100, le=1_000_000, description="The same for p99, which needs more of them."
    )
    errors: Rate = Field(
        description="Requests that end with 5xx, or with 429 because the house is full.",
        default_factory=lambda: Rate(
            margin=0.004, margin_ratio=1.4, intolerable=0.01, intolerable_ratio=2.0
        ),
    )
    decode_failures: Rate = Field(
        description="Requests refused because an image cannot be read.",
        default_factory=lambda: Rate(
            margin=0.01, margin_ratio=1.5, intolerable=0.03, intolerable_ratio=3.0
        ),
    )
    abstention: Rate = Field(
        description="Images answered with Indeterminate.",
        default_factory=lambda: Rate(
            margin=0.02, margin_ratio=1.3, intolerable=0.05, intolerable_ratio=2.0
        ),
    )
    latency_mean: Slowdown = Field(
        description="Mean latency of answered requests.",
        default_factory=lambda: Slowdown(margin_ratio=1.1, intolerable_ratio=1.2),
    )
    latency_p50: Slowdown = Field(
        description="Their median.",
        default_factory=lambda: Slowdown(margin_ratio=1.1, intolerable_ratio=1.2),
    )
    latency_p99: Slowdown = Field(
        description="Their 99th percentile.",
        default_factory=lambda: Slowdown(margin_ratio=1.25, intolerable_ratio=1.6),
    )
    confidence: Confidence = Field(description="Mean confidence.", default_factory=Confidence)
    classes: Classes = Field(description="Mix of the predicted classes.", default_factory=Classes)
    guards: Guards = Field(description="What ends a rollout at once.", default_factory=Guards)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        rising = all(one < other for one, other in zip(self.steps, self.steps[1:], strict=False))
        if len(self.steps) < 2 or not rising or self.steps[-1] != 100:
            raise ValueError(f"steps {list(self.steps)} must be at least 2, rise, and end with 100")
        _below("min_step_s", self.min_step_s, "max_step_s", self.max_step_s)
        return self


def _below(name: str, value: float, other: str, bound: float) -> None:
    if value >= bound:
        raise ValueError(f"{name} {value:g} must be less than {other} {bound:g}")
