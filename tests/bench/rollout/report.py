"""The figures of simulated rollouts, as JSON and as the table of docs/rollout.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, ClassVar

from k8s.rollout.interval import wilson
from tests.bench import cpu
from tests.bench.rollout.scenario import SCENARIOS
from tests.bench.rollout.simulation import Ended

FALSE_ROLLBACK_AT_MOST = 0.02
CAUGHT_AT_LEAST = 0.95
_DOUBLED = "errors_doubled"


@dataclass(frozen=True)
class Share:
    """A rate with its interval."""

    events: int
    of: int

    def figures(self) -> dict[str, float | int]:
        low, high = wilson(self.events, self.of)
        rate = self.events / self.of
        return {"rate": rate, "low": round(low, 5), "high": round(high, 5), "rollouts": self.of}

    def __str__(self) -> str:
        low, high = wilson(self.events, self.of)
        return f"{100 * self.events / self.of:.1f} ({100 * low:.1f} to {100 * high:.1f})"


@dataclass(frozen=True)
class Kind:
    """All rollouts of one scenario."""

    ENDS: ClassVar = ("promoted", "rolled back", "held")

    name: str
    worse: bool
    ended: Sequence[Ended]

    def share(self, end: str) -> Share:
        return Share(sum(one.end == end for one in self.ended), len(self.ended))

    @property
    def caught_before_half(self) -> Share:
        caught = [one.end == "rolled back" and one.most_percent < 50 for one in self.ended]
        return Share(sum(caught), len(caught))

    @property
    def median_requests(self) -> float:
        """That the target had until the verdict."""
        return median(one.target_requests for one in self.ended)

    @property
    def median_minutes(self) -> float:
        return median(one.minutes for one in self.ended)

    def figures(self) -> dict[str, Any]:
        return {
            "worse": self.worse,
            **{end.replace(" ", "_"): self.share(end).figures() for end in self.ENDS},
            "caught_before_half": self.caught_before_half.figures() if self.worse else None,
        }


def kinds(ended: Mapping[str, Sequence[Ended]]) -> list[Kind]:
    """In the order of the scenarios."""
    return [Kind(s.name, s.worse, ended[s.name]) for s in SCENARIOS if s.name in ended]


def false_rollback(of: Sequence[Kind]) -> Share:
    """Of all rollouts whose target is no worse."""
    same = [kind.share("rolled back") for kind in of if not kind.worse]
    return Share(sum(share.events for share in same), sum(share.of for share in same))


def figures(of: Sequence[Kind]) -> dict[str, Any]:
    """What the file of figures holds."""
    worse = [kind for kind in of if kind.worse]
    false = false_rollback(of)
    return {
        "cpu": cpu.description(),
        "rollouts": sum(len(kind.ended) for kind in of),
        "false_rollback": false.figures() if false.of else None,
        "missed_regression": {kind.name: kind.share("promoted").figures() for kind in worse},
        "median_requests": {kind.name: kind.median_requests for kind in of},
        "median_minutes": {kind.name: kind.median_minutes for kind in of},
        "goals": goals(of),
        "kinds": {kind.name: kind.figures() for kind in of},
    }


def goals(of: Sequence[Kind]) -> dict[str, bool]:
    """Those that can be judged of these kinds, and whether they are met."""
    met = {
        f"false_rollback of {kind.name} <= {FALSE_ROLLBACK_AT_MOST:g}": (
            kind.share("rolled back").figures()["rate"] <= FALSE_ROLLBACK_AT_MOST
        )
        for kind in of
        if not kind.worse
    }
    for kind in of:
        if kind.name == _DOUBLED:
            caught = kind.caught_before_half.figures()["rate"]
            met[f"{_DOUBLED} caught below 50 % >= {CAUGHT_AT_LEAST:g}"] = caught >= CAUGHT_AT_LEAST
    return met


def markdown(of: Sequence[Kind]) -> str:
    """The table."""
    lines = [
        (
            "| target | rolled back, % | rolled back below 50 %, % | promoted, % | held, % "
            "| target's requests | minutes |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for kind in of:
        name = kind.name.replace("_", " ")
        below = f"{kind.caught_before_half}" if kind.worse else "–"
        lines.append(
            f"| {name} | {kind.share('rolled back')} | {below} | {kind.share('promoted')} "
            f"| {kind.share('held')} "
            f"| {kind.median_requests:,.0f} | {kind.median_minutes:.0f} |"
        )
    return "\n".join(lines) + "\n"
