"""Traffic as two sides of a gateway see it, scrape by scrape.

What hangs together in reality does here: arrivals follow the hour and come in bursts, which slow
both sides; latency wanders, slowly and for both sides alike, and each pod a little by itself, on a
node that is a little faster or slower than others for good; incidents hit both sides or one pod;
requests carry one image or a series of one patient, whose classes hang together; the sides are
scraped at different moments of the interval.
"""

import math

import numpy as np
import numpy.typing as npt

from k8s.rollout.observation import Counts
from tests.bench.rollout.scenario import Model, Scenario

TICK_S = 5.0
SCRAPE_S = 15.0
_TICKS = round(SCRAPE_S / TICK_S)
LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONFIDENCE_BOUNDS = tuple(tenth / 20 for tenth in range(1, 21))
CLASSES = tuple("abcdefgh")

# Log-normal latencies of one moment; spread of the shared level and of a pod's.
_SPREAD = 0.45
_SHARED_SPREAD, _SHARED_S = 0.15, 180.0
_POD_SPREAD, _POD_S = 0.03, 60.0
# Replicas of the primary, whose wandering averages out; the target has one pod.
_PRIMARY_PODS = 4

Array = npt.NDArray[np.float64]


class Traffic:
    """Of one rollout.

    Args:
        scenario: what is true.
        rng: everything that is drawn.
        horizon_s: how long it may go on.
    """

    def __init__(self, scenario: Scenario, rng: np.random.Generator, horizon_s: float) -> None:
        self._scenario = scenario
        self._rng = rng
        ticks = round(horizon_s / TICK_S) + 2 * _TICKS
        time_s = np.arange(ticks) * TICK_S
        low, high = scenario.per_s
        per_s = math.exp(rng.uniform(math.log(low), math.log(high)))
        day = 1 + 0.4 * np.sin(2 * np.pi * (time_s / 86_400 + rng.uniform()))
        jitter = np.exp(_wander(rng, ticks, 0.2, 60.0))
        burst = _spells(rng, ticks, scenario.bursts, 120.0)
        self._incident = _spells(rng, ticks, scenario.shared_incidents, 60.0)
        self._per_tick = per_s * TICK_S * day * jitter * (1 + 2 * burst)
        shared = _wander(rng, ticks, _SHARED_SPREAD, _SHARED_S)
        median_s = math.exp(rng.uniform(math.log(0.012), math.log(0.2)))
        shared += math.log(median_s) + 0.3 * burst + 0.5 * self._incident
        self._level = {}
        self._blips = {}
        self._offset = {}
        for side, pods in (("primary", _PRIMARY_PODS), ("target", 1)):
            own = _wander(rng, ticks, _POD_SPREAD / math.sqrt(pods), _POD_S)
            node = rng.normal(0.0, scenario.node_spread / math.sqrt(pods))
            self._level[side] = shared + own + node
            blips = [_spells(rng, ticks, scenario.pod_incidents, 20.0) for _ in range(pods)]
            self._blips[side] = np.mean(blips, axis=0) / 3
            self._offset[side] = int(rng.integers(_TICKS))

    def scrape(self, index: int, weight_percent: int, probes: int) -> tuple[Counts, Counts]:
        """What the sides did in the interval before scrape `index` >= 1.

        Args:
            index: of the scrape.
            weight_percent: the target's share of the requests.
            probes: requests with reference inputs that each side gets besides.
        """
        share = weight_percent / 100
        copied = self._scenario.mirrored if weight_percent == 0 else 0.0
        new = weight_percent >= self._scenario.late_percent
        target = self._scenario.target if new else self._scenario.primary
        return (
            self._side("primary", self._scenario.primary, index, 1 - share, probes),
            self._side("target", target, index, share + copied, probes),
        )

    def _side(self, side: str, model: Model, index: int, share: float, probes: int) -> Counts:
        rng = self._rng
        end = index * _TICKS + self._offset[side]
        ticks = slice(end - _TICKS, end)
        arrivals = rng.poisson(self._per_tick[ticks] * share)
        arrivals[0] += probes
        requests = int(arrivals.sum())
        if requests == 0:
            return _NONE
        refused = int(rng.binomial(requests, model.decode_failure_ratio))
        chance = model.error_ratio + 0.05 * self._incident[ticks] + self._blips[side][ticks]
        errors = int(rng.binomial(arrivals, np.minimum(1.0, chance)).sum())
        errors = min(errors, requests - refused)
        answered = requests - refused - errors
        if answered == 0:
            return Counts(requests, errors, refused)
        level = np.repeat(self._level[side][ticks], arrivals)[:answered]
        latency_s = np.exp(level + _SPREAD * rng.standard_normal(answered)) * model.slow
        latency_s[rng.random(answered) < model.tail_share] *= model.tail_slow
        series = int(rng.binomial(answered, 0.1))
        of_series = rng.multinomial(series, model.mix)
        classes = rng.multinomial(answered - series, model.mix) + 4 * of_series
        images = answered + 3 * series
        abstained = rng.binomial(answered - series, model.abstention)
        abstained += 4 * rng.binomial(series, model.abstention)
        # Beta with the mean asked for, and a spread of about 0.12 as calibrated networks have.
        sure = rng.beta(7 * model.confidence, 7 * (1 - model.confidence), images)
        return Counts(
            requests=requests,
            errors=errors,
            decode_failures=refused,
            latency_bounds_s=LATENCY_BOUNDS_S,
            latency=_histogram(latency_s, LATENCY_BOUNDS_S),
            latency_sum_s=float(latency_s.sum()),
            images=images,
            classes={k: int(n) for k, n in zip(CLASSES, classes, strict=False) if n},
            confidence_bounds=CONFIDENCE_BOUNDS,
            confidence=_histogram(sure, CONFIDENCE_BOUNDS),
            abstained=int(abstained),
        )


def _histogram(values: Array, bounds: tuple[float, ...]) -> tuple[float, ...]:
    buckets = np.searchsorted(bounds, values)
    return tuple(np.bincount(buckets, minlength=len(bounds) + 1).astype(float).tolist())


def _wander(rng: np.random.Generator, ticks: int, spread: float, memory_s: float) -> Array:
    """An autoregressive process of that standard deviation, which forgets in that time."""
    keep = math.exp(-TICK_S / memory_s)
    steps = rng.standard_normal(ticks) * spread * math.sqrt(1 - keep * keep)
    steps[0] = rng.normal(0.0, spread)
    value = 0.0
    values = np.empty(ticks)
    for index, step in enumerate(steps.tolist()):
        value = keep * value + step
        values[index] = value
    return values


def _spells(rng: np.random.Generator, ticks: int, per_hour: float, length_s: float) -> Array:
    """1 within spells that begin at random, else 0."""
    begins = rng.random(ticks) < per_hour * TICK_S / 3600
    length = round(length_s / TICK_S)
    return (np.convolve(begins, np.ones(length))[:ticks] > 0).astype(float)


_NONE = Counts()
