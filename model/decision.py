"""Probabilities to a decision: label, risk level, or no decision at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

Severity = Literal["none", "low", "moderate", "high"]
SEVERITIES: tuple[Severity, ...] = ("none", "low", "moderate", "high")
INDETERMINATE = "Indeterminate"


class RiskPolicy(BaseModel):
    """When to decide, and what a severity is called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    indeterminate_below: float = Field(
        default=0.70, ge=0.0, le=1.0, description="confidence under which no risk is stated"
    )
    levels: dict[Severity, str] = Field(
        default={"none": "Minimal", "low": "Low", "moderate": "Moderate", "high": "High"}
    )

    @model_validator(mode="after")
    def _complete(self) -> "RiskPolicy":
        missing = [severity for severity in SEVERITIES if severity not in self.levels]
        if missing:
            raise ValueError(f"levels lacks {', '.join(missing)}; all of {SEVERITIES} are needed")
        taken = [name for name in self.levels.values() if not name or name == INDETERMINATE]
        if taken:
            raise ValueError(f"levels has the name {taken[0]!r}, which is empty or reserved")
        return self


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said about one image.

    Attributes:
        index: the most probable class.
        confidence: its calibrated probability.
        risk: a level of the policy, or `Indeterminate`.
    """

    index: int
    confidence: float
    risk: str

    @property
    def abstained(self) -> bool:
        return self.risk == INDETERMINATE


def decide(
    probabilities: npt.NDArray[np.float32], severities: Sequence[Severity], policy: RiskPolicy
) -> Decision:
    """Decide on one image.

    Args:
        probabilities: calibrated, float [K].
        severities: severity of each of the K classes.
        policy: the bundle's risk policy.
    """
    index = int(np.argmax(probabilities))
    confidence = float(probabilities[index])
    if confidence < policy.indeterminate_below:
        return Decision(index, confidence, INDETERMINATE)
    return Decision(index, confidence, policy.levels[severities[index]])
