import pytest
import torch
from torch import nn

from model.architectures import ARCHITECTURES, Classifier, build
from train.freezing import freeze_backbone, layer_scales
from train.optimisation import make_optimiser
from train.recipe import LoopConfig


def network(name: str = "baseline") -> Classifier:
    torch.manual_seed(0)
    return build(name, 3)


def step(net: Classifier, frozen: bool) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    optimiser = make_optimiser(net, LoopConfig())
    net.train()
    freeze_backbone(net, frozen)
    net(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimiser.step()
    return before, net.state_dict()


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def test_a_frozen_backbone_keeps_weights_and_statistics() -> None:
    names = changed(*step(network(), frozen=True))
    assert names
    assert all(name.startswith("head.") for name in names)


def test_afterwards_all_of_it_learns() -> None:
    net = network()
    step(net, frozen=True)
    names = changed(*step(net, frozen=False))
    assert {f"features.{name}" for name in net.features.state_dict()} <= names


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_deeper_layers_learn_more_slowly(name: str) -> None:
    net = network(name)
    scales = list(layer_scales(net, 0.5))
    # Every parameter, once, in the order the network has them.
    assert [id(p) for p, _ in scales] == [id(p) for p in net.parameters()]
    values = [scale for _, scale in scales]
    assert values == sorted(values)
    assert values[-1] == 1.0
    backbone = len(list(net.features.parameters()))
    assert values[backbone - 1] == 0.5
    assert len(set(values)) >= 4


def test_groups_have_the_learning_rates_of_their_layers() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    classifier = Classifier(net, nn.Sequential(nn.Linear(2, 3)), "1")
    loop = LoopConfig(learning_rate=0.1, layer_decay=0.5, weight_decay=0.2)
    groups = {
        (round(group["lr"], 6), group["weight_decay"])
        for group in make_optimiser(classifier, loop).param_groups
    }
    assert groups == {(lr, decay) for lr in (0.1, 0.05, 0.025) for decay in (0.0, 0.2)}


def test_without_decay_there_are_two_groups() -> None:
    assert len(make_optimiser(network(), LoopConfig()).param_groups) == 2
