import numpy as np
import pytest
from pydantic import ValidationError

from model.decision import INDETERMINATE, RiskPolicy, Severity, decide

SEVERITIES: tuple[Severity, ...] = ("none", "high")


def probabilities(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_the_severity_of_the_likeliest_class_names_the_risk() -> None:
    assert decide(probabilities(0.9, 0.1), SEVERITIES, RiskPolicy()).risk == "Minimal"
    decision = decide(probabilities(0.2, 0.8), SEVERITIES, RiskPolicy())
    assert (decision.index, decision.risk) == (1, "High")
    assert decision.confidence == pytest.approx(0.8)
    assert not decision.abstained


def test_under_70_percent_is_indeterminate() -> None:
    decision = decide(probabilities(0.31, 0.69), SEVERITIES, RiskPolicy())
    assert decision.risk == INDETERMINATE
    assert decision.abstained
    assert decide(probabilities(0.25, 0.75), SEVERITIES, RiskPolicy()).risk == "High"


def test_the_policy_sets_threshold_and_names() -> None:
    levels = {"none": "I", "low": "II", "moderate": "III", "high": "IV"}
    policy = RiskPolicy.model_validate({"indeterminate_below": 0.5, "levels": levels})
    assert decide(probabilities(0.4, 0.6), SEVERITIES, policy).risk == "IV"


def test_an_incomplete_or_reserved_level_is_refused() -> None:
    with pytest.raises(ValidationError, match="levels lacks low, moderate"):
        RiskPolicy.model_validate({"levels": {"none": "A", "high": "B"}})
    levels = {"none": "A", "low": "B", "moderate": "Indeterminate", "high": "D"}
    with pytest.raises(ValidationError, match="reserved"):
        RiskPolicy.model_validate({"levels": levels})
