import numpy as np
import pytest

from k8s.rollout.analysis.histogram import mean, quantile

BOUNDS = tuple(0.01 * 1.2**step for step in range(35))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.99])
def test_a_quantile_lies_near_that_of_the_values(share: float) -> None:
    values = np.exp(np.random.default_rng(0).normal(-2.0, 0.5, 20_000))
    counts = np.bincount(np.searchsorted(BOUNDS, values), minlength=len(BOUNDS) + 1)
    assert quantile(BOUNDS, counts.tolist(), share) == pytest.approx(
        np.quantile(values, share), rel=0.04
    )


def test_a_quantile_stays_in_the_only_bucket_that_has_any() -> None:
    assert 0.02 <= quantile((0.01, 0.02, 0.04), (0, 0, 3, 0), 0.99) <= 0.04
    assert quantile((0.01, 0.02), (0, 0, 3), 0.5) > 0.02
    assert quantile((0.01, 0.02), (3, 0, 0), 0.5) < 0.01


def test_the_mean_is_that_of_the_middles() -> None:
    assert mean((0.5, 1.0), (1, 3, 0)) == pytest.approx((0.25 + 3 * 0.75) / 4)
