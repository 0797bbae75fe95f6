import pytest
import torch
from torchvision import models

from model.architectures import ARCHITECTURES, build
from model.errors import SightlineError

TORCHVISION = {
    "convnext_tiny": models.convnext_tiny,
    "densenet121": models.densenet121,
    "efficientnet_b0": models.efficientnet_b0,
    "efficientnet_v2_s": models.efficientnet_v2_s,
    "mobilenet_v3_large": models.mobilenet_v3_large,
    "resnet18": models.resnet18,
    "resnet50": models.resnet50,
}


def test_every_architecture_is_listed() -> None:
    assert set(ARCHITECTURES) == {"baseline", *TORCHVISION}


@pytest.mark.parametrize("name", sorted(TORCHVISION))
def test_split_network_answers_as_torchvisions(name: str) -> None:
    torch.manual_seed(1)
    split = build(name, 4).eval()
    torch.manual_seed(1)
    whole = TORCHVISION[name](weights=None, num_classes=4).eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(split(x), whole(x), atol=1e-4)


@pytest.mark.parametrize(("depth", "width"), [(1, 8), (3, 16), (5, 4)])
def test_baseline_has_the_depth_and_width_asked_for(depth: int, width: int) -> None:
    net = build("baseline", 3, {"depth": depth, "width": width}).eval()
    with torch.no_grad():
        features = net.features(torch.zeros(1, 3, 128, 128))
    assert features.shape[1] >= width
    shallower = build("baseline", 3, {"depth": depth, "width": width * 2})
    assert sum(p.numel() for p in shallower.parameters()) > sum(p.numel() for p in net.parameters())


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SightlineError, match=r"'resnet19' is unknown; accepted: .*resnet18"):
        build("resnet19", 3)


def test_unknown_option_is_refused() -> None:
    with pytest.raises(SightlineError, match=r"model\.options\.heads is 2.*baseline: depth, width"):
        build("baseline", 3, {"heads": 2})
    with pytest.raises(SightlineError, match=r"options of resnet18: none"):
        build("resnet18", 3, {"width": 2})


def test_one_class_is_refused() -> None:
    with pytest.raises(SightlineError, match="at least 2"):
        build("baseline", 1)
