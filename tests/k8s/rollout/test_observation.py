import pytest

from k8s.rollout.observation import Counts
from tests.k8s.rollout.sides import side


def test_what_was_added_comes_back_as_what_came_since() -> None:
    earlier, more = side(200, errors=3), side(100, errors=1, slow=True)
    assert (earlier + more).since(earlier) == more


def test_a_counter_that_fell_began_anew() -> None:
    earlier = side(200, errors=3)
    assert side(50).since(earlier) == side(50)
    assert side(250, errors=1).since(earlier).errors == 1


def test_a_class_that_is_new_came_since() -> None:
    since = Counts(classes={"a": 5, "b": 2}).since(Counts(classes={"a": 4}))
    assert since.classes == {"a": 1, "b": 2}


def test_sides_with_other_buckets_are_not_added() -> None:
    other = Counts(latency_bounds_s=(1.0,), latency=(1.0, 0.0))
    with pytest.raises(ValueError, match=r"latency_bounds_s .* differ"):
        side(10) + other
    assert Counts() + other == other + Counts() == other
