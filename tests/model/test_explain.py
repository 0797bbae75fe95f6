import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional as F

from model.architectures import ARCHITECTURES, Classifier, build
from model.errors import ExplainError
from model.explain import ExplainedClassifier, check_head, head_with_jacobian, normalise

CLASSES = 3


def network(name: str) -> Classifier:
    """An untrained network whose batch statistics are those of its own activations.

    Without them the activations fade from layer to layer, and the maps with them.
    """
    torch.manual_seed(5)
    made = build(name, CLASSES).train()
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        made(normalise(pixels(8)))
    return made.eval()


def pixels(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    image = F.interpolate(coarse, size=(96, 96), mode="bicubic").clamp(0, 1) * 255
    return image.permute(0, 2, 3, 1).to(torch.uint8).contiguous()


def by_autograd(net: Classifier, image: Tensor) -> Tensor:
    features = net.features(normalise(image)).detach().requires_grad_(True)
    logits = net.head(features.mean(dim=(2, 3)))
    maps = []
    for k in range(CLASSES):
        (gradient,) = torch.autograd.grad(logits[:, k].sum(), features, retain_graph=True)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        maps.append(torch.relu((weights * features).sum(1)).detach())
    return torch.stack(maps, 1)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_cam_is_that_of_autograd_for_every_class(name: str) -> None:
    net, image = network(name), pixels(3)
    with torch.no_grad():
        _, _, cam = ExplainedClassifier(net).eval()(image)
    reference = by_autograd(net, image)
    assert reference.max() > 0
    assert (cam - reference).abs().max() / reference.max() <= 5e-5


def unit(cam: Tensor) -> Tensor:
    shifted = cam - cam.min()
    return shifted / (shifted.max() + 1e-7)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_cam_is_that_of_the_grad_cam_package(name: str) -> None:
    net, image = network(name), pixels(2)
    graph = ExplainedClassifier(net).eval()
    with torch.no_grad():
        _, _, cam = graph(image)
    compared = 0
    with GradCAM(model=net, target_layers=[net.features]) as tool:
        for k in range(CLASSES):
            targets = [ClassifierOutputTarget(k)] * len(image)
            theirs = tool(input_tensor=normalise(image), targets=targets)
            for index in range(len(image)):
                mine = cam[index, k]
                if mine.max() == 0:
                    assert theirs[index].max() == 0
                    continue
                # The package scales each map to 0..1, enlarges it to the input and scales again.
                large = F.interpolate(unit(mine)[None, None], size=(96, 96), mode="bilinear")
                assert np.abs(theirs[index] - unit(large[0, 0]).numpy()).max() < 1e-3
                compared += 1
    assert compared > 0


def test_the_answer_is_the_networks_own() -> None:
    net, image = network("mobilenet_v3_large"), pixels(2)
    with torch.no_grad():
        logits, probabilities, _ = ExplainedClassifier(net, temperature=2.0).eval()(image)
        plain = net(normalise(image))
    assert torch.allclose(logits, plain, atol=1e-5)
    assert torch.allclose(probabilities, torch.softmax(plain / 2.0, 1), atol=1e-6)


def test_the_given_image_is_not_changed() -> None:
    net, image = network("mobilenet_v3_large"), pixels(1)
    before = image.clone()
    graph = ExplainedClassifier(net).eval()
    with torch.no_grad():
        first = graph(image)
        second = graph(image)
    assert torch.equal(image, before)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(inplace=True), nn.Hardswish(inplace=True), nn.SiLU(inplace=True), nn.GELU(),
     nn.Identity(), nn.Dropout(), nn.LayerNorm(7), nn.LayerNorm(7, elementwise_affine=False),
     nn.BatchNorm1d(7), nn.BatchNorm1d(7, affine=False)],
    ids=lambda layer: repr(layer),
)  # fmt: skip
def test_each_rule_gives_the_jacobian_of_autograd(activation: nn.Module) -> None:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(5, 7), activation, nn.Linear(7, CLASSES)).double().eval()
    if isinstance(activation, nn.LayerNorm) and activation.elementwise_affine:
        nn.init.normal_(activation.weight)
    if isinstance(activation, nn.BatchNorm1d):
        assert activation.running_mean is not None
        assert activation.running_var is not None
        nn.init.normal_(activation.running_mean)
        nn.init.uniform_(activation.running_var, 0.5, 2.0)
    pooled = torch.randn(4, 5, dtype=torch.float64) * 4
    logits, jacobian = head_with_jacobian(head, pooled)
    expected = torch.stack(
        [
            torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
                lambda x: head(x[None])[0], row
            )
            for row in pooled
        ]
    )
    assert torch.allclose(logits, head(pooled))
    assert torch.allclose(jacobian.expand_as(expected), expected, atol=1e-10)


@pytest.mark.parametrize("x", [-3.0, 3.0, 0.0])
def test_derivatives_hold_at_the_kinks(x: float) -> None:
    for layer in (nn.Hardswish(), nn.ReLU()):
        head = nn.Sequential(nn.Identity(), layer, nn.Linear(1, 2))
        pooled = torch.tensor([[x]])
        _, jacobian = head_with_jacobian(head, pooled)
        expected = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
            lambda v, h=head: h(v[None])[0], pooled[0]
        )
        assert torch.allclose(jacobian[0], expected, atol=1e-6)


def test_a_layer_without_rule_is_refused() -> None:
    with pytest.raises(ExplainError, match=r"layer 0 is Tanh.*known layers: .*Linear"):
        check_head(nn.Sequential(nn.Tanh(), nn.Linear(2, 2)))


def test_an_approximate_gelu_is_refused() -> None:
    head = nn.Sequential(nn.GELU(approximate="tanh"), nn.Linear(2, 2))
    with pytest.raises(ExplainError, match="approximate='tanh'"):
        head_with_jacobian(head, torch.ones(1, 2))


def test_batch_norm_in_training_mode_is_refused() -> None:
    head = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)).train()
    with pytest.raises(ExplainError, match="call eval"):
        head_with_jacobian(head, torch.ones(3, 2))


def test_a_head_must_end_in_logits() -> None:
    with pytest.raises(ExplainError, match="last layer must be Linear"):
        check_head(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))


def test_temperature_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"temperature is 0\.0"):
        ExplainedClassifier(network("baseline"), 0.0)
