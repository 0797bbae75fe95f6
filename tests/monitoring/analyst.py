"""The analyst's own series, as its code makes them, of looks that nobody took."""

import time

from prometheus_client import CollectorRegistry

from k8s.rollout.analysis.comparison import Comparison, Status
from k8s.rollout.decision import Decision
from k8s.rollout.record import Record, Release
from k8s.rollout.state import Figures, Phase, State, Verdict
from k8s.rollout.telemetry import Telemetry


class Analyst:
    """Says what an analyst would, without looking at anything."""

    def __init__(self) -> None:
        self._telemetry = Telemetry()
        self._telemetry.lead()
        self._telemetry.failed("metrics")

    @property
    def registry(self) -> CollectorRegistry:
        return self._telemetry.registry

    def looked(self, verdict: Verdict, step: int, weight_percent: int) -> None:
        """Tell of a look at a step."""
        now_s = time.time()
        state = State(phase=Phase.ANALYSING, release="cxr-8", step=step, observed_at_s=now_s)
        primary = Release(revision="cxr-7", spec={})
        figures = Figures(
            step=weight_percent,
            elapsed_s=40.0,
            primary_requests=700.0,
            target_requests=200.0,
            comparisons={
                "errors": _comparison(0.011, 0.013, 0.002, 0.01),
                "latency_p99": _comparison(0.084, 0.091, 1.08, 1.2),
                "confidence": _comparison(0.81, 0.8, 0.01, 0.03),
            },
        )
        decision = Decision(state, weight_percent, verdict, "as in the test", figures)
        self._telemetry.standing(
            Record(state=state, primary=primary, weight_percent=weight_percent)
        )
        self._telemetry.decided(decision)


def _comparison(primary: float, target: float, effect: float, margin: float) -> Comparison:
    return Comparison(
        primary=primary,
        target=target,
        effect=effect,
        margin=margin,
        evidence=0.2,
        sample=200.0,
        needed=400,
        status=Status.FINE,
    )
