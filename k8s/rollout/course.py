"""From one look to the next: what the record becomes, given what the cluster shows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from k8s.rollout.decision import Decision, Request, decide
from k8s.rollout.observation import Counts, Observation
from k8s.rollout.policy import Policy
from k8s.rollout.record import Record, Release
from k8s.rollout.state import Phase, Verdict, begin, finish

RETRY = "retry"
REQUESTS = (*(each for each in get_args(Request) if each != "none"), RETRY)

# Both sides since a time; None if they cannot be had.
Observe = Callable[[float], tuple[Counts, Counts] | None]


@dataclass(frozen=True)
class World:
    """What the cluster shows.

    Attributes:
        target: what the chart wants to be served; None if it was deleted.
        target_ready: pods of that very spec take requests, as many as there should be.
        target_answers: some of them do, which is enough for one that was ready before.
        primary: revision that the primary was told to serve; None if there is no primary.
        primary_ready: pods of that revision take requests.
        primary_answers: a pod of it, of whatever revision, takes requests.
        found: the primary as it is, for a record that was lost.
        primary_replicas, target_replicas: pods that there should be; 0 if that is not said here.
        weight_percent: share of the requests that the target gets; None if that cannot be said.
        moved_at_s: when that was changed last.
    """

    target: Release | None
    target_ready: bool
    target_answers: bool
    primary: str | None
    primary_ready: bool
    primary_answers: bool
    found: Release | None
    primary_replicas: int
    target_replicas: int
    weight_percent: int | None
    moved_at_s: float


@dataclass(frozen=True)
class News:
    """Something that an Event is to tell."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Step:
    """What a look comes to.

    Attributes:
        record: to be kept before anything is done.
        news: to be told after it.
        decision: if both sides were looked at.
    """

    record: Record
    news: tuple[News, ...] = ()
    decision: Decision | None = None


def follow(
    policy: Policy, record: Record, world: World, observe: Observe, request: str, at_s: float
) -> Step:
    """The next record.

    Args:
        policy: the rules.
        record: as it was kept.
        world: as it is.
        observe: asked only while a rollout is analysed.
        request: of a person: one of `REQUESTS`, or empty.
        at_s: now, in seconds since 1970.
    """
    if request and request not in REQUESTS:
        news = News("Refused", f"request {request!r}; accepted: {', '.join(REQUESTS)}", True)
        return Step(record, (news,))
    if record.primary is None:
        return _first(record, world, at_s)
    if record.changed_at_s is not None:
        return _becoming(policy, record, world, request, at_s - record.changed_at_s)
    if record.ended:
        return _idle(record, world, request, at_s)
    if world.target is not None and world.target.revision != record.state.release:
        return _superseded(record, world.target, at_s)
    return _rolling(policy, record, world, observe, request, at_s)


def _first(record: Record, world: World, at_s: float) -> Step:
    """There is nothing to compare with: what comes first is promoted when it is ready."""
    if world.found is not None:
        # The record was lost, and the primary says what was promoted last.
        changed_at_s = None if world.primary_ready else at_s
        weight_percent = 0 if world.primary_ready else _share(world.found.revision, None, world)
        found = Record(
            primary=world.found, changed_at_s=changed_at_s, weight_percent=weight_percent
        )
        return Step(found)
    if world.target is None:
        return Step(record)
    revision = world.target.revision
    state = record.state
    if state.release != revision:
        state = begin(revision, at_s)
    if not world.target_ready:
        return Step(record.model_copy(update={"state": state, "weight_percent": 100}))
    changes = {
        "state": state.model_copy(update={"phase": Phase.PROMOTING}),
        "primary": world.target,
        "changed_at_s": at_s,
        "weight_percent": 100,
    }
    news = News("FirstRelease", f"{revision} is ready and is promoted: there is none before it")
    return Step(record.model_copy(update=changes), (news,))


def _idle(record: Record, world: World, request: str, at_s: float) -> Step:
    """Wait for another spec."""
    serving = record.serving
    rejected = "" if request == RETRY else record.rejected
    revision = None if world.target is None else world.target.revision
    if revision == serving:
        rejected = ""
    record = record.model_copy(update={"rejected": rejected, "weight_percent": 0})
    if revision is None or revision in (serving, rejected):
        return Step(record)
    state = begin(revision, at_s)
    news = News("RolloutBegun", f"{revision} is tried beside {serving}")
    changes = {"state": state, "least_replicas": world.primary_replicas}
    return Step(record.model_copy(update=changes), (news,))


def _superseded(record: Record, target: Release, at_s: float) -> Step:
    """Another spec has come in the middle: the target's pods are not what was looked at."""
    if target.revision in (record.serving, record.rejected):
        changes = {"state": finish(record.state), "weight_percent": 0}
        said = f"{record.state.release} was withdrawn for {target.revision}, which is known"
        return Step(record.model_copy(update=changes), (News("RolloutWithdrawn", said),))
    said = f"{target.revision} takes the place of {record.state.release}: from the beginning"
    changes = {"state": begin(target.revision, at_s), "weight_percent": 0}
    return Step(record.model_copy(update=changes), (News("RolloutBegun", said),))


def _rolling(
    policy: Policy, record: Record, world: World, observe: Observe, request: str, at_s: float
) -> Step:
    counts = None
    begun = record.state.unready_since_s is None
    ready = world.target_answers if begun else world.target_ready
    if world.target is not None and ready and begun:
        counts = observe(record.state.observed_at_s)
    primary, target = counts or (Counts(), Counts())
    seen = Observation(
        at_s=at_s,
        primary=primary,
        target=target,
        target_ready=ready,
        target_gone=world.target is None,
        metrics_available=counts is not None,
    )
    before = record.state
    asked: Request = "none"
    for each in get_args(Request):
        if each == request:
            asked = each
    decision = decide(policy, before, seen, asked)
    changes = {"state": decision.state, "weight_percent": decision.weight_percent}
    if decision.verdict is Verdict.ROLLBACK:
        changes["rejected"] = before.release
    record = record.model_copy(update=changes)
    news = _told(before.last.verdict if before.last else None, before.phase, decision)
    if decision.state.phase is Phase.PROMOTING and _arrived(policy, world, at_s):
        record = _change(record, world, at_s)
    return Step(record, news, decision)


def _arrived(policy: Policy, world: World, at_s: float) -> bool:
    """All requests have gone to the target for long enough that the primary has none left."""
    return world.weight_percent == 100 and at_s - world.moved_at_s >= policy.settle_s


def _change(record: Record, world: World, at_s: float) -> Record:
    changes = {
        "primary": world.target,
        "former": record.primary,
        "changed_at_s": at_s,
        "least_replicas": max(record.least_replicas, world.target_replicas),
    }
    return record.model_copy(update=changes)


def _becoming(policy: Policy, record: Record, world: World, request: str, waited_s: float) -> Step:
    """The primary becomes what was promoted, while the requests go where there are pods."""
    revision, former = record.serving, record.former
    settled = {"former": None, "changed_at_s": None, "weight_percent": 0}
    if world.primary == revision and world.primary_ready:
        done = record.model_copy(update=settled | {"state": finish(record.state), "rejected": ""})
        return Step(done, (News("Promoted", f"the primary serves {revision}"),))
    if former is not None and (request == "abort" or waited_s > policy.readiness_s):
        state = record.state.model_copy(update={"phase": Phase.ROLLED_BACK})
        changes = {"state": state, "primary": former, "rejected": revision}
        why = "aborted by hand" if request == "abort" else f"not ready after {waited_s:.0f} s"
        said = f"the primary goes back from {revision} to {former.revision}: {why}"
        return Step(record.model_copy(update=settled | changes), (News("RolledBack", said, True),))
    weight_percent = _share(revision, former, world)
    return Step(record.model_copy(update={"weight_percent": weight_percent}))


def _share(revision: str, former: Release | None, world: World) -> int:
    """Where the requests go while the primary changes: to pods."""
    same = world.target is not None and world.target.revision == revision
    able = same and world.target_answers
    # A primary that served something before always has pods: they are replaced one by one.
    if former is not None:
        return 100 if able else 0
    if world.primary_answers:
        return 100 if able and world.weight_percent == 100 else 0
    return 100


def _told(before: Verdict | None, phase: Phase, decision: Decision) -> tuple[News, ...]:
    """An Event for each end of a step, and for each change of mind between them."""
    verdict = decision.verdict
    repeated = verdict is Verdict.PROMOTE and phase is Phase.PROMOTING
    if repeated or (verdict is before and verdict in (Verdict.CONTINUE, Verdict.HOLD)):
        return ()
    figures = decision.figures
    said = [
        f"{decision.weight_percent} % of the requests from now on: {decision.reason}",
        f"primary answered {figures.primary_requests:.0f} requests in {figures.elapsed_s:.0f} s",
        f"target answered {figures.target_requests:.0f} at {figures.step} %",
        *(f"{name}: {each}" for name, each in figures.comparisons.items()),
    ]
    reason = f"Verdict{verdict.value.capitalize()}"
    return (News(reason, "; ".join(said), verdict is Verdict.ROLLBACK),)
