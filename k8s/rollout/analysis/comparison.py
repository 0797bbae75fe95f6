"""What one comparison says."""

import math
from dataclasses import dataclass
from enum import StrEnum

from k8s.rollout.policy import Strict


class Status(StrEnum):
    """Of the target in one respect.

    Attributes:
        SHORT: an intolerable target might not have shown by now.
        FINE: it would have, and the margin is kept.
        SUSPECT: the margin is exceeded, which may be chance.
        WORSE: the margin is exceeded, and that is no chance.
    """

    SHORT = "short"
    FINE = "fine"
    SUSPECT = "suspect"
    WORSE = "worse"


class Comparison(Strict):
    """Figures of one respect, in the step so far.

    Attributes:
        primary, target: a share, seconds, or a mean confidence; of the classes, the share of the
            class that differs most.
        effect: what is held against the margin: rise of a share, ratio of latencies, fall of the
            confidence, distance of the mixes.
        margin: the effect that is tolerated.
        evidence: log of the e-value over that of the value which is alarming: 1 is an alarm.
        sample: windows, or requests or images of the target, that were compared.
        needed: how many show an intolerable target; None while that cannot be told.
        status: the conclusion.
        about: the class, where it is about one.
    """

    primary: float
    target: float
    effect: float
    margin: float
    evidence: float
    sample: float
    needed: int | None
    status: Status
    about: str = ""

    def __str__(self) -> str:
        about = f" ({self.about})" if self.about else ""
        return (
            f"{self.target:.4g} against {self.primary:.4g}{about}, effect {self.effect:.4g} "
            f"of {self.margin:.4g} tolerated, evidence {self.evidence:.2f} of 1"
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """What the tests are held to.

    Attributes:
        log_threshold: log of the e-value that is an alarm.
        power: chance that a complete sample would have shown an intolerable target.
    """

    log_threshold: float
    power: float


def concluded(
    demand: Demand,
    *,
    primary: float,
    target: float,
    effect: float,
    margin: float,
    log_evidence: float,
    sample: float,
    needed: float,
    about: str = "",
) -> Comparison:
    """The comparison with its status.

    Args:
        demand: what the test is held to.
        log_evidence: log of the e-value.
        needed: infinity while it cannot be told.
        primary, target, effect, margin, sample, about: as in `Comparison`.
    """
    evidence = log_evidence / demand.log_threshold
    if effect > margin and evidence >= 1:
        status = Status.WORSE
    elif sample < needed:
        status = Status.SHORT
    else:
        status = Status.SUSPECT if effect > margin else Status.FINE
    return Comparison(
        primary=primary,
        target=target,
        effect=effect,
        margin=margin,
        evidence=evidence,
        sample=sample,
        needed=math.ceil(needed) if math.isfinite(needed) else None,
        status=status,
        about=about,
    )
