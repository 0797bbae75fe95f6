"""What to do next: a pure function of policy, state and what was seen.

A controller looks every scrape or so, asks `decide`, writes the state it is given and then does
what its phase says: weights, requests with reference inputs, promotion. Because the state holds
until when observations were taken into account, a controller that is killed before it has written
asks for a longer time at its next start, and nothing is counted twice or lost.
"""

from dataclasses import dataclass
from typing import Literal

from k8s.rollout import guards
from k8s.rollout.analysis import evidence as collected
from k8s.rollout.analysis.comparison import Comparison, Status
from k8s.rollout.lacks import in_time, lacks
from k8s.rollout.observation import Observation
from k8s.rollout.policy import Policy
from k8s.rollout.state import Figures, Outcome, Phase, State, Verdict

Request = Literal["none", "promote", "pause", "resume", "abort"]

# Scrapes are further apart than looks, so that many a look finds nothing new.
_PATIENCE_S = 120.0
_ENDED = (Phase.IDLE, Phase.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do.

    Attributes:
        state: to be kept before anything is done.
        weight_percent: the target's share of the requests from now on.
        verdict: in a word.
        reason: in a sentence.
        figures: the numbers.
        probe_requests: how many requests with reference inputs to send to each side.
    """

    state: State
    weight_percent: int
    verdict: Verdict
    reason: str
    figures: Figures
    probe_requests: int = 0


def decide(
    policy: Policy, state: State, observation: Observation, request: Request = "none"
) -> Decision:
    """The next step, from one look.

    Args:
        policy: the rules.
        state: that the last decision gave, or `begin`.
        observation: what was seen since `state.observed_at_s`.
        request: what a person asks for. One that cannot be met is refused in the reason.
    """
    look = _Look(policy, state, observation)
    if state.phase in _ENDED:
        return look.ended()
    if request == "abort":
        return look.rollback("aborted by hand")
    if observation.target_gone:
        return look.rollback("the target was deleted")
    look.pause_or_resume(request)
    if not observation.target_ready:
        return look.unready(refused="promote" if request == "promote" else None)
    if state.phase is Phase.PROMOTING:
        return look.promote("all traffic is the target's")
    if request == "promote":
        return look.promote("promoted by hand")
    look.begin_if_waiting()
    look.take_in()
    return look.judge()


class _Look:
    """One call of `decide`: the state as it changes."""

    def __init__(self, policy: Policy, state: State, observation: Observation) -> None:
        self.policy = policy
        self.state = state
        self.seen = observation
        self.at_s = max(observation.at_s, state.observed_at_s)

    def ended(self) -> Decision:
        if self.state.phase is Phase.IDLE:
            return self._decision(Verdict.CONTINUE, "nothing is rolled out", 0)
        before = self.state.last.reason if self.state.last else "it was rolled back"
        return self._decision(Verdict.ROLLBACK, before, 0)

    def rollback(self, reason: str, comparisons: dict[str, Comparison] | None = None) -> Decision:
        self._set(phase=Phase.ROLLED_BACK)
        return self._decision(Verdict.ROLLBACK, reason, 0, comparisons)

    def promote(self, reason: str, comparisons: dict[str, Comparison] | None = None) -> Decision:
        self._set(phase=Phase.PROMOTING)
        return self._decision(Verdict.PROMOTE, reason, 100, comparisons)

    def unready(self, refused: str | None) -> Decision:
        """Wait without traffic, within limits."""
        state = self.state
        if state.unready_since_s is None:
            paused = state.phase is Phase.PAUSED
            phase = Phase.PAUSED if paused else Phase.WAITING
            times = state.unready_times + 1
            self._set(phase=phase, unready_since_s=self.at_s, unready_times=times)
            if times > self.policy.max_unready:
                return self.rollback(f"the target ceased to be ready {times} times")
        waited_s = self.at_s - (self.state.unready_since_s or 0.0)
        if waited_s >= self.policy.readiness_s:
            return self.rollback(f"the target has not been ready for {waited_s:.0f} s")
        left_s = self.policy.readiness_s - waited_s
        reason = f"the target is not ready; rolled back in {left_s:.0f} s if it stays so"
        if refused:
            return self._decision(Verdict.HOLD, f"{refused} refused: {reason}", 0)
        return self._decision(Verdict.HOLD, reason, 0)

    def begin_if_waiting(self) -> None:
        """Go on, now that the target is ready; what came meanwhile is not compared."""
        state = self.state
        if state.unready_since_s is None:
            return
        self._set(
            unready_since_s=None,
            # What it was paused in, it stays paused in.
            phase=Phase.PAUSED if state.phase is Phase.PAUSED else Phase.ANALYSING,
            step_began_s=self.at_s,
            observed_at_s=self.at_s,
            settled_at_s=self.at_s + self.policy.settle_s,
            evidence=collected.settled(state.evidence, self.at_s),
        )

    def pause_or_resume(self, request: Request) -> None:
        state = self.state
        if request == "pause" and state.phase is not Phase.PROMOTING:
            self._set(phase=Phase.PAUSED)
        elif request == "resume" and state.phase in (Phase.PAUSED, Phase.HELD):
            phase = Phase.ANALYSING if state.unready_since_s is None else Phase.WAITING
            self._set(phase=phase, step_began_s=self.at_s)

    def take_in(self) -> None:
        """What was seen, once."""
        seen, state = self.seen, self.state
        if not seen.metrics_available or seen.at_s <= state.observed_at_s:
            return
        evidence = state.evidence
        if state.observed_at_s < state.settled_at_s:
            evidence = collected.unsettled(evidence, seen.primary, seen.target)
        else:
            evidence = collected.observe(
                evidence, self.policy, seen.at_s, seen.primary, seen.target
            )
        self._set(evidence=evidence, observed_at_s=seen.at_s)

    def judge(self) -> Decision:
        policy, state = self.policy, self.state
        evidence = state.evidence
        window = evidence.window
        comparisons = collected.compare(evidence, policy)
        reason = guards.tripped(policy, window.primary, window.target, evidence.slow_windows)
        if reason is not None:
            return self.rollback(reason, comparisons)
        if state.observed_at_s >= state.settled_at_s and window.began_s < state.settled_at_s:
            self._set(evidence=collected.settled(evidence, state.observed_at_s))
        worse = [f"{n}: {c}" for n, c in comparisons.items() if c.status is Status.WORSE]
        if worse:
            return self.rollback("the target is worse. " + "; ".join(worse), comparisons)
        if state.phase is Phase.PAUSED:
            return self._stay(Verdict.HOLD, "paused by hand", comparisons)
        if not self.seen.metrics_available:
            return self._blind(comparisons)
        return self._progress(comparisons)

    def _blind(self, comparisons: dict[str, Comparison]) -> Decision:
        """Nothing moves; whether something is wrong, only time tells."""
        last, unseen_s = self.state.last, self.at_s - self.state.observed_at_s
        if unseen_s >= _PATIENCE_S:
            reason = f"the metrics cannot be had for {_PATIENCE_S:.0f} s and more"
            return self._stay(Verdict.HOLD, reason, comparisons)
        holding = last is not None and last.verdict is Verdict.HOLD
        verdict = Verdict.HOLD if holding else Verdict.CONTINUE
        return self._stay(verdict, "both sides have still to be scraped", comparisons)

    def _progress(self, comparisons: dict[str, Comparison]) -> Decision:
        policy, state = self.policy, self.state
        lacking = lacks(policy, state, comparisons)
        elapsed_s = self.at_s - state.step_began_s
        if elapsed_s >= policy.min_step_s and not lacking:
            return self._advance(comparisons)
        if lacking and elapsed_s >= policy.max_step_s:
            return self._overdue(lacking, comparisons)
        if not lacking:
            reason = f"no reason against it, for {policy.min_step_s - elapsed_s:.0f} s more"
            return self._stay(Verdict.CONTINUE, reason, comparisons)
        silent = not in_time(policy, state, comparisons, elapsed_s)
        if silent and elapsed_s >= policy.silence_s:
            return self._silent("; ".join(lacking), comparisons)
        return self._stay(Verdict.CONTINUE, "; ".join(lacking), comparisons)

    def _advance(self, comparisons: dict[str, Comparison]) -> Decision:
        policy, step = self.policy, self.state.step + 1
        if policy.steps[step] == 100:
            return self.promote("no worse in any respect, at any step", comparisons)
        figures = self._figures(comparisons)
        self._set(
            phase=Phase.ANALYSING,
            step=step,
            step_began_s=self.at_s,
            settled_at_s=self.at_s + policy.settle_s,
            probed=0,
            evidence=collected.begun(self.at_s),
        )
        reason = f"no worse in any respect at {figures.step} %"
        return self._decision(Verdict.ADVANCE, reason, policy.steps[step], figures=figures)

    def _overdue(self, lacking: list[str], comparisons: dict[str, Comparison]) -> Decision:
        policy = self.policy
        suspect = any(c.status is Status.SUSPECT for c in comparisons.values())
        reason = f"overdue after {policy.max_step_s:.0f} s: " + "; ".join(lacking)
        if suspect and policy.at_max_step == "rollback":
            return self.rollback(reason, comparisons)
        self._set(phase=Phase.HELD)
        return self._silent(reason, comparisons)

    def _silent(self, lacking: str, comparisons: dict[str, Comparison]) -> Decision:
        policy = self.policy
        left = policy.probe.requests_per_step - self.state.probed
        if policy.on_silence == "hold" or left <= 0:
            return self._stay(Verdict.HOLD, lacking, comparisons)
        probe = min(left, policy.probe.requests_per_look)
        self._set(probed=self.state.probed + probe)
        reason = f"{probe} reference inputs for each side, because {lacking}"
        return self._stay(Verdict.HOLD, reason, comparisons, probe)

    def _stay(
        self,
        verdict: Verdict,
        reason: str,
        comparisons: dict[str, Comparison],
        probe_requests: int = 0,
    ) -> Decision:
        weight = self.policy.steps[self.state.step]
        return self._decision(verdict, reason, weight, comparisons, probe_requests=probe_requests)

    def _figures(self, comparisons: dict[str, Comparison] | None) -> Figures:
        state = self.state
        return Figures(
            step=self.policy.steps[state.step],
            elapsed_s=self.at_s - state.step_began_s,
            primary_requests=state.evidence.primary_requests,
            target_requests=state.evidence.target_requests,
            comparisons=comparisons or {},
        )

    def _decision(
        self,
        verdict: Verdict,
        reason: str,
        weight_percent: int,
        comparisons: dict[str, Comparison] | None = None,
        *,
        figures: Figures | None = None,
        probe_requests: int = 0,
    ) -> Decision:
        figures = figures or self._figures(comparisons)
        outcome = Outcome(
            verdict=verdict,
            reason=reason,
            at_s=self.at_s,
            weight_percent=weight_percent,
            figures=figures,
        )
        self._set(last=outcome)
        return Decision(self.state, weight_percent, verdict, reason, figures, probe_requests)

    def _set(self, **changes: object) -> None:
        self.state = self.state.model_copy(update=changes)
