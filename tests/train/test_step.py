"""One step over several batches is the step over one that holds all their images."""

import copy

import pytest
import torch
from torch import Tensor, nn

from model.architectures import Classifier
from train.batches import Batch
from train.device import Precision
from train.errors import TrainingError
from train.losses import Loss
from train.optimisation import make_optimiser
from train.recipe import LoopConfig
from train.schedule import Schedule
from train.state import State
from train.step import Step

WEIGHTS = torch.tensor([0.2, 1.0, 5.0])
CPU = torch.device("cpu")


def network() -> Classifier:
    """Without batch normalisation, whose statistics are a batch's own whatever is summed."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh())
    return Classifier(features, nn.Sequential(nn.Linear(4, 3)), "features.1")


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (10,), generator=generator)
    return torch.randn(10, 3, 8, 8, generator=generator), labels


def after_steps(sizes: list[int], loop: LoopConfig, loss: Loss) -> tuple[dict[str, Tensor], float]:
    net = network()
    optimiser = make_optimiser(net, loop)
    precision = Precision(CPU, None)
    state = State("", net, optimiser, precision.scaler(), torch.Generator())
    step = Step(net, state, Schedule(optimiser, loop, 4), loss, precision, loop)
    x, labels = images()
    for number in range(3):
        batches = map(Batch, torch.split(x, sizes), torch.split(labels, sizes))
        value = step(number, batches, loss.size(labels))
    return copy.deepcopy(net.state_dict()), value


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("sizes", [[5, 5], [4, 4, 2]])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_accumulated_batches_are_one_big_batch(
    weights: Tensor | None, sizes: list[int], optimiser: str
) -> None:
    loop = LoopConfig.model_validate({"optimiser": optimiser, "learning_rate": 0.1})
    loss = Loss(weights, label_smoothing=0.1)
    whole, value = after_steps([10], loop, loss)
    parts, sum_of_parts = after_steps(sizes, loop, loss)
    assert sum_of_parts == pytest.approx(value, rel=1e-5)
    for key, tensor in whole.items():
        assert torch.allclose(tensor, parts[key], atol=1e-5), key


def test_the_gradient_is_clipped_as_a_whole_or_not_at_all() -> None:
    def moved(clip_norm: float | None) -> float:
        loop = LoopConfig(
            optimiser="sgd",
            momentum=0.0,
            weight_decay=0.0,
            learning_rate=1.0,
            warmup_epochs=0.0,
            clip_norm=clip_norm,
            schedule="constant",
        )
        before = network().state_dict()
        after, _ = after_steps([5, 5], loop, Loss())
        return float(sum((after[key] - before[key]).square().sum() for key in before).sqrt())

    assert moved(1e-3) <= 3.01e-3
    assert moved(None) > 0.1
    assert moved(None) == pytest.approx(moved(1e6))


def test_a_loss_that_is_no_number_changes_no_weight() -> None:
    loop = LoopConfig()
    net = network()
    optimiser = make_optimiser(net, loop)
    precision = Precision(CPU, None)
    state = State("", net, optimiser, precision.scaler(), torch.Generator())
    step = Step(net, state, Schedule(optimiser, loop, 4), Loss(), precision, loop)
    x, labels = images()
    before = copy.deepcopy(net.state_dict())
    batches = [Batch(x[:5], labels[:5]), Batch(x[5:] * float("nan"), labels[5:])]
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1, step 1"):
        step(0, batches, 10.0)
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
