from collections.abc import Iterator
from dataclasses import replace

import pytest

from k8s.rollout.decision import Decision, Request, decide
from k8s.rollout.observation import Counts, Observation
from k8s.rollout.policy import Policy
from k8s.rollout.state import Phase, State, Verdict, begin, finish
from tests.k8s.rollout.sides import side, with_classes

POLICY = Policy()
SCRAPE_S = 15.0


def look(
    state: State,
    target: Counts | None = None,
    primary: Counts | None = None,
    *,
    policy: Policy = POLICY,
    after_s: float = SCRAPE_S,
    ready: bool = True,
    **more: bool,
) -> Decision:
    at_s = state.observed_at_s + after_s
    seen = Observation(at_s, primary or side(500), target or side(100), ready, **more)
    return decide(policy, state, seen)


def ask(state: State, request: Request, *, ready: bool = True) -> Decision:
    seen = Observation(state.observed_at_s + 1, target_ready=ready)
    return decide(POLICY, state, seen, request)


def looks(state: State, *args: Counts, many: int = 400, **more: object) -> Iterator[Decision]:
    """Until it ends."""
    for _ in range(many):
        decision = look(state, *args, **more)  # type: ignore[arg-type]
        yield decision
        state = decision.state
        if state.phase in (Phase.PROMOTING, Phase.ROLLED_BACK):
            return


def at_step(percent: int, policy: Policy = POLICY) -> State:
    """Just begun."""
    state = begin("new", 0.0)
    for decision in looks(state, policy=policy):
        if decision.weight_percent == percent:
            return decision.state
    raise AssertionError(f"{percent} % was never reached")


def last(decisions: Iterator[Decision]) -> Decision:
    *_, end = decisions
    return end


def test_an_equal_target_goes_through_every_step_to_its_promotion() -> None:
    seen = list(looks(begin("new", 0.0)))
    weights = list(dict.fromkeys(decision.weight_percent for decision in seen))
    assert weights == [0, 5, 25, 50, 100]
    assert [d.verdict for d in seen].count(Verdict.ADVANCE) == 3
    assert seen[-1].verdict is Verdict.PROMOTE
    assert seen[-1].figures.comparisons.keys() == {
        "errors",
        "decode_failures",
        "abstention",
        "latency_mean",
        "latency_p50",
        "latency_p99",
        "confidence",
        "classes",
    }


def test_a_target_whose_histograms_have_other_buckets_is_compared_all_the_same() -> None:
    """A new image may have them."""
    finer = replace(
        side(100),
        latency_bounds_s=(0.02, 0.03, 0.04),
        latency=(0.0, 10.0, 80.0, 10.0),
        confidence_bounds=(0.5, 1.0),
        confidence=(0.0, 100.0, 0.0),
    )
    state = at_step(5)
    for _ in range(6):
        state = look(state, finer).state
    assert state.evidence.windows > 0
    assert state.evidence.classes


def test_a_failing_target_is_gone_at_the_first_look_that_has_enough() -> None:
    decision = look(at_step(5), side(50, errors=50))
    assert decision.verdict is Verdict.ROLLBACK
    assert decision.weight_percent == 0
    assert "50 errors in 50 requests" in decision.reason


def test_what_both_sides_fail_at_is_not_the_targets_fault() -> None:
    decision = look(at_step(5), side(50, errors=50), side(500, errors=490))
    assert decision.verdict is not Verdict.ROLLBACK


def test_a_slow_target_is_gone_after_a_few_windows() -> None:
    end = last(looks(at_step(5), side(100, slow=True)))
    assert end.verdict is Verdict.ROLLBACK
    assert "3 windows on end" in end.reason


def test_more_errors_end_it_with_figures() -> None:
    end = last(looks(at_step(5), side(100, errors=3), side(500, errors=5)))
    assert end.verdict is Verdict.ROLLBACK
    errors = end.figures.comparisons["errors"]
    assert (errors.primary, errors.target) == pytest.approx((0.01, 0.03))
    assert errors.evidence >= 1
    assert "errors: 0.03 against 0.01" in end.reason


def test_a_lost_class_ends_it_and_is_named() -> None:
    target = with_classes(side(100), {"a": 93, "b": 7})
    primary = with_classes(side(500), {"a": 375, "b": 100, "c": 25})
    end = last(looks(at_step(5), target, primary))
    assert end.verdict is Verdict.ROLLBACK
    assert end.figures.comparisons["classes"].about == "c"


def test_a_difference_within_the_margin_is_no_regression_however_sure() -> None:
    """3.9 and 3 per cent of two million requests."""
    state = begin("new", 0.0)
    end = last(looks(state, side(100_000, errors=3900), side(100_000, errors=3000)))
    assert end.verdict is Verdict.PROMOTE
    assert end.figures.comparisons["errors"].evidence > 1


def test_a_suspect_does_not_advance() -> None:
    """1.5 against 1 per cent: beyond the margin, and for a long time not enough to be sure."""
    state = at_step(5)
    suspected = 0
    for window in range(400):
        decision = look(state, side(100, errors=window % 4), side(500, errors=5))
        state = decision.state
        if decision.weight_percent == 0:
            break
        assert decision.weight_percent == 5
        suspected += "errors is suspect" in decision.reason
    assert suspected > 20
    assert state.phase is Phase.ROLLED_BACK


@pytest.mark.parametrize("silent", ["target", "primary", "both"])
def test_silence_promotes_nothing_and_rolls_nothing_back(silent: str) -> None:
    none = Counts()
    target = side(100) if silent == "primary" else none
    primary = side(500) if silent == "target" else none
    for decision in looks(at_step(5), target, primary, many=1000):
        assert decision.weight_percent == 5
        assert decision.verdict in (Verdict.CONTINUE, Verdict.HOLD)
    assert decision.state.phase is Phase.HELD
    assert "answered 0 of 200" in decision.reason


def test_a_held_step_goes_on_when_the_requests_come() -> None:
    none = Counts()
    held = last(looks(at_step(5), none, none, many=1000)).state
    assert last(looks(held)).verdict is Verdict.PROMOTE


def test_silence_is_probed_within_bounds_where_that_is_configured() -> None:
    probe = {"requests_per_look": 40, "requests_per_step": 100}
    policy = Policy.model_validate({"on_silence": "probe", "probe": probe})
    state = at_step(5, policy=policy)
    none = Counts()
    asked = [d.probe_requests for d in looks(state, none, none, policy=policy, many=100)]
    assert [each for each in asked if each] == [40, 40, 20]


def test_at_0_percent_readiness_is_enough_without_requests() -> None:
    state, none = begin("new", 0.0), Counts()
    decisions = list(looks(state, none, side(500), many=60))
    assert decisions[-1].weight_percent == 5
    times = [d.state.observed_at_s for d in decisions if d.weight_percent == 5]
    assert times[0] >= POLICY.min_step_s


def test_a_single_request_at_0_percent_does_not_ask_for_more_of_them() -> None:
    state = begin("new", 0.0)
    state = look(look(state).state, Counts()).state
    for _ in range(3):
        state = look(state, Counts()).state
    state = look(state, side(1)).state
    assert last(looks(state, Counts(), side(500), many=60)).weight_percent == 5


def test_mirrored_requests_that_fail_at_0_percent_end_it() -> None:
    assert last(looks(begin("new", 0.0), side(100, errors=5))).figures.step == 0


def test_without_metrics_everything_stays_and_nothing_is_lost() -> None:
    state = at_step(5)
    decision = look(state, metrics_available=False, after_s=600)
    assert decision.verdict is Verdict.HOLD
    assert decision.weight_percent == 5
    assert decision.state.observed_at_s == state.observed_at_s


def test_a_look_between_two_scrapes_changes_no_mind_and_moves_nothing() -> None:
    lacking = look(look(at_step(5)).state)
    complete = lacking.state.model_copy(update={"step_began_s": -1e4})
    for state in (lacking.state, complete):
        between = look(state, metrics_available=False)
        assert (between.verdict, between.weight_percent) == (Verdict.CONTINUE, 5)
        assert between.state.step == state.step
    held = look(lacking.state, metrics_available=False, after_s=600).state
    back = look(held, metrics_available=False)
    assert back.verdict is Verdict.HOLD


def test_a_deleted_target_is_rolled_back_even_without_metrics() -> None:
    decision = look(at_step(5), target_gone=True, metrics_available=False)
    assert decision.verdict is Verdict.ROLLBACK
    assert "deleted" in decision.reason


def test_a_target_that_is_never_ready_is_rolled_back() -> None:
    decisions = list(looks(begin("new", 0.0), ready=False, after_s=1000.0))
    assert decisions[0].verdict is Verdict.ROLLBACK
    assert "not been ready for 1000 s" in decisions[0].reason


def test_a_target_that_ceases_to_be_ready_gets_nothing_until_it_is() -> None:
    state = at_step(25)
    away = look(state, ready=False)
    assert (away.weight_percent, away.state.phase) == (0, Phase.WAITING)
    back = look(away.state)
    assert (back.weight_percent, back.state.phase) == (25, Phase.ANALYSING)


def test_a_target_that_keeps_ceasing_to_be_ready_is_rolled_back() -> None:
    state = at_step(25)
    for _ in range(POLICY.max_unready):
        state = look(look(state, ready=False).state).state
        assert state.phase is Phase.ANALYSING
    assert look(state, ready=False).verdict is Verdict.ROLLBACK


def test_what_was_seen_right_after_a_change_of_weights_is_not_compared() -> None:
    state = look(at_step(5), side(100, errors=30)).state
    for _ in range(20):
        state = look(state).state
    assert state.evidence.rates["errors"].target_events == 0


@pytest.mark.parametrize("at", ["waiting", "analysing", "paused", "promoting", "rolled back"])
def test_abort_leads_to_0_percent_from_everywhere(at: str) -> None:
    states = {
        "waiting": begin("new", 0.0),
        "analysing": at_step(25),
        "paused": ask(at_step(25), "pause").state,
        "promoting": ask(at_step(25), "promote").state,
        "rolled back": ask(at_step(25), "abort").state,
    }
    decision = ask(states[at], "abort")
    assert decision.state.phase is Phase.ROLLED_BACK
    assert decision.weight_percent == 0


def test_a_promotion_by_hand_needs_a_target_that_is_ready() -> None:
    assert ask(at_step(5), "promote").weight_percent == 100
    refused = ask(at_step(5), "promote", ready=False)
    assert refused.weight_percent == 0
    assert "promote refused" in refused.reason


def test_a_paused_rollout_stays_until_it_is_resumed_unless_it_is_worse() -> None:
    paused = ask(at_step(5), "pause").state
    stayed = last(looks(paused, many=200))
    assert (stayed.weight_percent, stayed.state.phase) == (5, Phase.PAUSED)
    assert last(looks(ask(stayed.state, "resume").state)).verdict is Verdict.PROMOTE
    assert look(paused, side(50, errors=50)).verdict is Verdict.ROLLBACK


def test_pause_and_resume_are_met_while_the_target_is_not_ready() -> None:
    waiting = look(at_step(5), ready=False).state
    paused = ask(waiting, "pause", ready=False).state
    assert look(paused).state.phase is Phase.PAUSED
    resumed = ask(paused, "resume", ready=False)
    assert (resumed.state.phase, resumed.weight_percent) == (Phase.WAITING, 0)
    assert look(resumed.state).state.phase is Phase.ANALYSING


def test_a_finished_promotion_is_idle_until_another_begins() -> None:
    state = finish(ask(at_step(5), "promote").state)
    decision = ask(state, "abort")
    assert (decision.weight_percent, decision.state.phase) == (0, Phase.IDLE)
    assert begin("newer", 50.0).phase is Phase.WAITING


def test_a_look_that_is_repeated_counts_once() -> None:
    state = at_step(5)
    once = look(state)
    seen = Observation(once.state.observed_at_s, side(500), side(100))
    assert decide(POLICY, once.state, seen).state.evidence == once.state.evidence
