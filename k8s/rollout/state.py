"""What a rollout has come to: all that is kept of it, as JSON, in an annotation."""

from enum import StrEnum

from pydantic import Field

from k8s.rollout.analysis.comparison import Comparison
from k8s.rollout.analysis.evidence import Evidence, begun
from k8s.rollout.policy import Strict


class Phase(StrEnum):
    """Where a rollout is.

    Attributes:
        IDLE: there is none; the primary serves what was promoted last.
        WAITING: for the target to be ready, at the beginning or again. It gets no traffic.
        ANALYSING: a step.
        HELD: in a step that is overdue. It is analysed on, and ends as any other.
        PAUSED: by hand. Nothing but a rollback happens.
        PROMOTING: all traffic is the target's, and the primary has to become it.
        ROLLED_BACK: all traffic is the primary's.
    """

    IDLE = "idle"
    WAITING = "waiting"
    ANALYSING = "analysing"
    HELD = "held"
    PAUSED = "paused"
    PROMOTING = "promoting"
    ROLLED_BACK = "rolled back"


class Verdict(StrEnum):
    """What a look comes to.

    Attributes:
        CONTINUE: nothing is wrong, more has to be seen.
        HOLD: more has to be seen, and something is in its way that the reason names.
        ADVANCE: to the next step.
        PROMOTE, ROLLBACK: the end.
    """

    CONTINUE = "continue"
    HOLD = "hold"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


class Figures(Strict):
    """All numbers behind a verdict.

    Attributes:
        step: of how many per cent.
        elapsed_s: since the step began.
        primary_requests, target_requests: of the step.
        comparisons: by name.
    """

    step: int = 0
    elapsed_s: float = 0.0
    primary_requests: float = 0.0
    target_requests: float = 0.0
    comparisons: dict[str, Comparison] = Field(default_factory=dict)


class Outcome(Strict):
    """The last verdict."""

    verdict: Verdict
    reason: str
    at_s: float
    weight_percent: int
    figures: Figures


class State(Strict):
    """Of one release's rollout.

    Attributes:
        phase: where it is.
        release: name of what is rolled out, as the controller tells releases apart.
        step: index into the policy's steps.
        began_s: when the rollout began, in seconds since 1970.
        step_began_s: when the step did, or was resumed.
        observed_at_s: until when observations have been taken into account.
        settled_at_s: from when on they are compared.
        unready_since_s: when the target was first seen not ready; None while it is.
        unready_times: how often it ceased to be.
        probed: requests with reference inputs that were asked for in this step.
        evidence: of this step.
        last: the last verdict.
    """

    phase: Phase = Phase.IDLE
    release: str = ""
    step: int = 0
    began_s: float = 0.0
    step_began_s: float = 0.0
    observed_at_s: float = 0.0
    settled_at_s: float = 0.0
    unready_since_s: float | None = None
    unready_times: int = 0
    probed: int = 0
    evidence: Evidence = Field(default_factory=Evidence)
    last: Outcome | None = None


def begin(release: str, at_s: float) -> State:
    """A new rollout; also in the middle of another one, which is forgotten."""
    return State(
        phase=Phase.WAITING,
        release=release,
        began_s=at_s,
        step_began_s=at_s,
        observed_at_s=at_s,
        unready_since_s=at_s,
        evidence=begun(at_s),
    )


def finish(state: State) -> State:
    """After a promotion: the primary is what the target was, and serves."""
    return State(release=state.release, last=state.last)
