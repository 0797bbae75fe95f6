"""Whatever is seen and asked, in whatever order."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from k8s.rollout.decision import Request, decide
from k8s.rollout.observation import Observation
from k8s.rollout.policy import Policy
from k8s.rollout.state import Phase, State, Verdict, begin
from tests.k8s.rollout.sides import side

# Short, so that random looks reach every step.
POLICY = Policy(
    steps=(0, 10, 40, 100), min_requests=50, min_step_s=30, max_step_s=200, settle_s=5, silence_s=30
)

counts = st.one_of(
    st.integers(0, 400).map(side),
    st.tuples(st.integers(0, 400), st.integers(0, 100)).map(
        lambda pair: side(max(pair), errors=min(pair))
    ),
)
seen = st.builds(
    Observation,
    at_s=st.floats(0.1, 60),
    primary=counts,
    target=counts,
    target_ready=st.sampled_from([True] * 9 + [False]),
    target_gone=st.sampled_from([False] * 30 + [True]),
    metrics_available=st.sampled_from([True] * 9 + [False]),
)
requests = st.sampled_from(["none"] * 30 + ["pause", "resume", "resume", "promote", "abort"])
calm = st.builds(
    Observation,
    at_s=st.floats(5, 60),
    primary=st.builds(side, st.integers(0, 400)),
    target=st.builds(side, st.integers(0, 400)),
)
rollouts = st.one_of(
    st.lists(st.tuples(seen, requests), max_size=60),
    st.lists(st.tuples(calm, st.just("none")), min_size=30, max_size=80),
)


def _follow(rollout: list[tuple[Observation, Request]], *, stop: bool) -> list[State]:
    """States after each look; with `stop`, every one is read back from JSON before the next."""
    state, at_s, states = begin("new", 0.0), 0.0, []
    for look, request in rollout:
        at_s += look.at_s
        if stop:
            state = State.model_validate_json(state.model_dump_json())
        state = decide(POLICY, state, replace(look, at_s=at_s), request).state
        states.append(state)
    return states


@settings(deadline=None, max_examples=40)
@given(rollouts)
def test_an_analyst_that_is_restarted_after_every_look_comes_to_the_same(
    rollout: list[tuple[Observation, Request]],
) -> None:
    assert _follow(rollout, stop=True) == _follow(rollout, stop=False)


@settings(deadline=None, max_examples=100)
@given(rollouts)
def test_weights_are_steps_that_follow_each_other_and_promotion_has_its_minimum(
    rollout: list[tuple[Observation, Request]],
) -> None:
    state, at_s, weights = begin("new", 0.0), 0.0, [0]
    for look, request in rollout:
        at_s += look.at_s
        before, decision = state, decide(POLICY, state, replace(look, at_s=at_s), request)
        state = decision.state
        assert decision.weight_percent in POLICY.steps
        weights.append(decision.weight_percent)
        if decision.verdict is Verdict.ADVANCE:
            index = POLICY.steps.index(decision.weight_percent)
            assert POLICY.steps[before.step] == POLICY.steps[index - 1]
        promoted = state.phase is Phase.PROMOTING and before.phase is not Phase.PROMOTING
        if promoted and request != "promote":
            figures = decision.figures
            assert min(figures.primary_requests, figures.target_requests) >= POLICY.min_requests
            assert figures.elapsed_s >= POLICY.min_step_s
            assert POLICY.steps[before.step] == POLICY.steps[-2]
        if look.target_gone or request == "abort":
            assert decision.weight_percent == 0
            assert state.phase is Phase.ROLLED_BACK
        if state.phase in (Phase.WAITING, Phase.ROLLED_BACK):
            assert decision.weight_percent == 0


@settings(deadline=None, max_examples=40)
@given(rollouts)
def test_what_is_rolled_back_stays_so(rollout: list[tuple[Observation, Request]]) -> None:
    states = _follow(rollout, stop=False)
    ended = [state.phase is Phase.ROLLED_BACK for state in states]
    assert ended == sorted(ended)


@settings(deadline=None, max_examples=40)
@given(rollouts)
def test_the_state_fits_into_an_annotation(rollout: list[tuple[Observation, Request]]) -> None:
    for state in _follow(rollout, stop=False)[-1:]:
        assert len(state.model_dump_json()) < 32_768


def test_random_rollouts_are_promoted_and_rolled_back_too() -> None:
    """The properties above are about something."""
    good: list[tuple[Observation, Request]] = [
        (Observation(15.0, side(500), side(300)), "none")
    ] * 80
    bad: list[tuple[Observation, Request]] = [
        (Observation(15.0, side(500), side(300, errors=200)), "none")
    ] * 80
    assert _follow(good, stop=False)[-1].phase is Phase.PROMOTING
    assert _follow(bad, stop=False)[-1].phase is Phase.ROLLED_BACK
