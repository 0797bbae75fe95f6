import pytest

from model.bundle import Bundle
from predictor.engine import race as module
from predictor.engine.race import BUDGET_S, ROUNDS, WARM_UPS, Candidate, ExpectedLoad, race
from predictor.engine.selftest import SelfTest
from tests.predictor.paced import Clock, PacedEngine, PacedKind

PASSED = SelfTest(0.0, 0.0, 0, None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def candidate(bundle: Bundle, clock: Clock, fixed: float, per_image: float) -> Candidate:
    kind = PacedKind("paced", clock, fixed, per_image)
    return Candidate(kind.open(bundle.path / "model.onnx", "fp32", 1), PASSED)


def runs(candidate: Candidate) -> list[int]:
    assert isinstance(candidate.engine, PacedEngine)
    return candidate.engine.sizes


def test_the_score_is_the_rate_of_the_expected_mix_of_full_batches_and_single_images(
    bundle: Bundle, clock: Clock
) -> None:
    timed = candidate(bundle, clock, 0.0, 0.0)
    # One undisturbed time among few is nearer to the truth than their middle.
    timed.seconds = {1: [9.0, 0.1, 0.1], 8: [0.4]}
    assert timed.images_per_second(1) == pytest.approx(10.0)
    assert timed.images_per_second(8) == pytest.approx(20.0)
    assert timed.score(8, "balanced") == pytest.approx(1.0 / (0.7 * 0.05 + 0.3 * 0.1))
    assert timed.score(8, "latency") == pytest.approx(10.0)
    assert timed.score(8, "throughput") == pytest.approx(20.0)


@pytest.mark.parametrize(("load", "winner"), [("latency", 0), ("balanced", 1), ("throughput", 1)])
def test_the_expected_load_decides_which_is_faster(
    bundle: Bundle, clock: Clock, load: ExpectedLoad, winner: int
) -> None:
    pair = [candidate(bundle, clock, 0.0, 0.018), candidate(bundle, clock, 0.015, 0.006)]
    images = bundle.reference().image
    assert race(pair, images, 4, load) is pair[winner]
    assert race(pair[::-1], images, 4, load) is pair[winner]


def test_candidates_take_turns_after_their_warm_up(bundle: Bundle, clock: Clock) -> None:
    pair = [candidate(bundle, clock, 0.0, 0.010), candidate(bundle, clock, 0.0, 0.011)]
    race(pair, bundle.reference().image, 4, "balanced")
    for each in pair:
        assert runs(each) == [1, 4] * (WARM_UPS + ROUNDS)
        assert {len(taken) for taken in each.seconds.values()} == {ROUNDS}


def test_a_clear_winner_is_declared_early(bundle: Bundle, clock: Clock) -> None:
    pair = [candidate(bundle, clock, 0.0, 0.010), candidate(bundle, clock, 0.0, 0.030)]
    race(pair, bundle.reference().image, 4, "balanced")
    assert len(pair[0].seconds[1]) < ROUNDS / 2


def test_the_time_is_bounded_and_the_slowest_still_gets_one_round(
    bundle: Bundle, clock: Clock
) -> None:
    pair = [candidate(bundle, clock, BUDGET_S, 0.0), candidate(bundle, clock, BUDGET_S, 0.1)]
    assert race(pair, bundle.reference().image, 4, "balanced") is pair[0]
    for each in pair:
        assert runs(each) == [1, 4] * 2
        assert [len(each.seconds[size]) for size in (1, 4)] == [1, 1]


def test_a_limit_of_one_image_is_one_size(bundle: Bundle, clock: Clock) -> None:
    alone = candidate(bundle, clock, 0.0, 0.01)
    assert race([alone], bundle.reference().image, 1, "balanced") is alone
    assert set(runs(alone)) == {1}
    assert alone.score(1, "balanced") == pytest.approx(100.0)
