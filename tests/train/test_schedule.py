import math
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR

from train.recipe import LoopConfig
from train.schedule import Schedule, learning_rate_factor, plateaus
from train.state import Epoch

STEPS = 5


def factors(**settings: Any) -> list[float]:
    loop = LoopConfig.model_validate({"epochs": 10} | settings)
    return [learning_rate_factor(step, STEPS, loop) for step in range(10 * STEPS)]


def optimiser(lr: float = 1.0) -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(torch_s: Any, count: int) -> list[float]:
    found = []
    for _ in range(count):
        found.append(torch_s.get_last_lr()[0])
        torch_s.optimizer.step()
        torch_s.step()
    return found


@pytest.mark.parametrize("kind", ["cosine", "step", "plateau", "constant", "one_cycle"])
def test_every_schedule_warms_up(kind: str) -> None:
    found = factors(schedule=kind, warmup_epochs=2.0)
    assert found[0] < 0.2
    assert found[:10] == sorted(found[:10])
    assert max(found) == pytest.approx(1.0)
    assert found[10:] == sorted(found[10:], reverse=True)
    assert all(math.isfinite(f) and f > 0 for f in found)


def test_the_cosine_falls_to_zero() -> None:
    assert factors(warmup_epochs=2.0)[-1] < 0.01


def test_one_cycle_is_torch_s() -> None:
    # Torch counts the rise to its last step, so that the top is one step before ours.
    reference = OneCycleLR(
        optimiser(), 1.0, total_steps=50, pct_start=16 / 50, cycle_momentum=False
    )
    found = factors(schedule="one_cycle", warmup_epochs=3.0)
    assert found == pytest.approx(rates(reference, 50), abs=1e-9)


def test_the_step_schedule_is_torch_s() -> None:
    reference = rates(StepLR(optimiser(), step_size=3, gamma=0.5), 10)
    found = factors(schedule="step", decay_epochs=3, decay_factor=0.5, warmup_epochs=0.0)
    assert found[::STEPS] == pytest.approx(reference)


def epoch(number: int, macro_f1: float) -> Epoch:
    return Epoch(number, 1.0, 1.0, macro_f1, macro_f1, macro_f1, None, 0.1, 1.0)


def test_the_plateau_schedule_is_torch_s() -> None:
    figures = [0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.5, 0.5, 0.4, 0.45, 0.5, 0.6]
    theirs = optimiser()
    reference = ReduceLROnPlateau(
        theirs, "max", factor=0.5, patience=2, threshold=0.0, threshold_mode="abs"
    )
    ours = optimiser()
    schedule = Schedule(
        ours,
        LoopConfig(schedule="plateau", decay_factor=0.5, plateau_patience=2, warmup_epochs=0.0),
        STEPS,
    )
    history: list[Epoch] = []
    for number, figure in enumerate(figures, 1):
        history.append(epoch(number, figure))
        reference.step(figure)
        schedule.apply(number * STEPS, history)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])
    assert plateaus([each.score for each in history], 2) == 3


def test_each_group_keeps_its_share_of_the_learning_rate() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = SGD([{"params": weights[:1], "lr": 0.1}, {"params": weights[1:], "lr": 0.01}])
    Schedule(groups, LoopConfig(warmup_epochs=4.0), STEPS).apply(3, [])
    high, low = (group["lr"] for group in groups.param_groups)
    assert high / low == pytest.approx(10.0)
    assert high < 0.1
