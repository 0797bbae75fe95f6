import pytest
import torch
from torch.nn import functional as F

from train.losses import Loss
from train.recipe import LoopConfig

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(10, 3, generator=GENERATOR)
LABELS = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
SHARES = torch.softmax(torch.randn(10, 3, generator=GENERATOR), 1)
WEIGHTS = torch.tensor([0.5, 1.0, 4.0])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_divided_by_its_size_it_is_torch_s_mean(
    weights: torch.Tensor | None, smoothing: float
) -> None:
    loss = Loss(weights, label_smoothing=smoothing)
    expected = F.cross_entropy(LOGITS, LABELS, weight=weights, label_smoothing=smoothing)
    assert float(loss(LOGITS, LABELS)) / loss.size(LABELS) == pytest.approx(float(expected))


@pytest.mark.parametrize("target", [LABELS, SHARES])
def test_the_focal_loss_is_cross_entropy_times_what_is_missing(target: torch.Tensor) -> None:
    shares = F.one_hot(LABELS, 3) if target is LABELS else target
    p = torch.softmax(LOGITS, 1)
    for gamma in (0.5, 2.0):
        expected = (-shares * (1 - p) ** gamma * p.log() * WEIGHTS).sum()
        assert torch.allclose(Loss(WEIGHTS, gamma)(LOGITS, target), expected)


def test_a_focal_loss_that_goes_nowhere_is_the_cross_entropy() -> None:
    almost = Loss(WEIGHTS, 1e-9, label_smoothing=0.1)
    assert torch.allclose(almost(LOGITS, LABELS), Loss(WEIGHTS, 0.0, 0.1)(LOGITS, LABELS))


def test_a_focal_loss_of_certain_answers_has_a_finite_gradient() -> None:
    logits = torch.tensor([[200.0, -200.0], [200.0, -200.0]], requires_grad=True)
    Loss(gamma=0.5)(logits, torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("settings", "gamma"),
    [({}, 0.0), ({"loss": "focal"}, 2.0), ({"loss": "focal", "focal_gamma": 1.5}, 1.5)],
)
def test_the_settings_choose_it(settings: dict[str, object], gamma: float) -> None:
    assert Loss.of(LoopConfig.model_validate(settings)).gamma == gamma


def test_mixing_does_not_change_the_size() -> None:
    shares = 0.3 * F.one_hot(LABELS, 3) + 0.7 * F.one_hot(LABELS.roll(1), 3)
    assert Loss(WEIGHTS).size(LABELS) == pytest.approx(float((shares * WEIGHTS).sum()))
