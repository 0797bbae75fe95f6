import pytest
from pydantic import BaseModel, ValidationError

from k8s.rollout.policy import Policy


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"steps": [5, 25]}, "rise, and end with 100"),
        ({"steps": [25, 5, 100]}, "rise, and end with 100"),
        ({"steps": [100]}, "at least 2"),
        ({"min_step_s": 7200, "max_step_s": 60}, "min_step_s 7200 must be less than max_step_s 60"),
        ({"step": [0, 100]}, "Extra inputs are not permitted"),
        ({"latency_p99": {"margin_ratio": 1.5, "intolerable_ratio": 1.2}}, "margin_ratio 1.5"),
        ({"on_silence": "promote"}, "'hold' or 'probe'"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Policy.model_validate(values)


def test_every_value_is_described() -> None:
    def undescribed(model: type[BaseModel]) -> list[str]:
        found = [name for name, field in model.model_fields.items() if not field.description]
        for field in model.model_fields.values():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += undescribed(kind)
        return found

    assert undescribed(Policy) == []
