import pytest
import torch

from model.architectures import Classifier, build
from train.averaging import WeightAverage


def network() -> Classifier:
    torch.manual_seed(0)
    return build("baseline", 3, {"depth": 1, "width": 4})


def filled(net: Classifier, value: float) -> Classifier:
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.fill_(value)
    return net


def test_it_follows_the_formula_and_warms_up() -> None:
    net = network()
    average = WeightAverage(net, 0.5)
    expected = 0.0
    for step in range(12):
        average.update(filled(net, float(step)))
        decay = min(0.5, (1 + step) / (10 + step))
        expected = 0.0 if step == 0 else decay * expected + (1 - decay) * step
    for key, tensor in average.network.state_dict().items():
        wanted = 11 if key.endswith("num_batches_tracked") else expected
        assert torch.allclose(tensor.float(), torch.tensor(float(wanted))), key


def test_statistics_of_batch_normalisation_are_averaged_with_the_weights() -> None:
    net = network().train()
    average = WeightAverage(net, 0.9)
    for value in (0.0, 1.0, 1.0):
        average.update(filled(net, value))
    means = [v for k, v in average.network.state_dict().items() if k.endswith("running_mean")]
    assert all(0.0 < float(mean[0]) < 1.0 for mean in means)


def test_its_state_brings_it_back() -> None:
    net = network()
    average = WeightAverage(net, 0.99)
    for value in (1.0, 2.0, 3.0):
        average.update(filled(net, value))
    other = WeightAverage(network(), 0.99)
    other.load_state_dict(average.state_dict())
    for each in (average, other):
        each.update(filled(net, 9.0))
    pairs = zip(average.state_dict().values(), other.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_the_network_itself_is_not_touched() -> None:
    net = network()
    average = WeightAverage(net, 0.9)
    average.update(net)
    filled(average.network, 7.0)
    assert not any(bool((p == 7.0).any()) for p in net.parameters())
    assert all(p.requires_grad for p in net.parameters())
    assert not any(p.requires_grad for p in average.network.parameters())


@pytest.mark.parametrize("architecture", ["mobilenet_v3_large", "densenet121"])
def test_every_network_can_be_averaged(architecture: str) -> None:
    net = build(architecture, 2)
    WeightAverage(net, 0.9).update(net)
