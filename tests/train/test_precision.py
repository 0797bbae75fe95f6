"""Mixed precision, compilation and determinism, as a CPU has them."""

import os

import pytest
import torch

from model.architectures import Classifier, build
from train.compilation import compiled
from train.device import Precision, set_determinism
from train.recipe import LoopConfig

CPU = torch.device("cpu")
HALVES = [("auto", None), ("off", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)]


def network() -> Classifier:
    torch.manual_seed(0)
    return build("baseline", 3, {"depth": 1, "width": 4})


@pytest.mark.parametrize(("amp", "half"), HALVES)
def test_the_forward_pass_has_the_precision_that_is_asked_for(
    amp: str, half: torch.dtype | None
) -> None:
    precision = Precision.of(LoopConfig.model_validate({"amp": amp}), CPU)
    with precision.autocast():
        logits = network()(torch.randn(2, 3, 16, 16))
    assert logits.dtype == (half or torch.float32)
    assert precision.scaler().is_enabled() == (half is torch.float16)


def test_a_network_that_cannot_be_compiled_is_trained_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A real compiler fails the same way, only later: this one is registered with torch and raises.
    def broken(graph: object, inputs: object) -> object:
        raise RuntimeError("no C++ compiler\nand a long story")

    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net: original(net, backend=broken))
    net, told = network(), list[str]()
    net.train()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    drawn = torch.get_rng_state()
    module = compiled(net, torch.zeros(4, 3, 16, 16), Precision(CPU, None), told.append)
    assert module is net
    assert len(told) == 1
    assert "no C++ compiler" in told[0]
    assert "\n" not in told[0]
    assert all(torch.equal(t, before[k]) for k, t in net.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())
    module(torch.randn(4, 3, 16, 16)).sum().backward()


def test_a_compiled_network_is_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # All of torch.compile but the last stage, which has a C++ compiler work for most of a minute.
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net: original(net, backend="aot_eager"))
    net, told = network(), list[str]()
    x = torch.randn(4, 3, 16, 16)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    module = compiled(net, torch.zeros_like(x), Precision(CPU, None), told.append)
    assert told == []
    assert module is not net
    assert all(torch.equal(t, before[k]) for k, t in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert torch.allclose(module.train()(x), network().train()(x), atol=1e-5)
    assert not any("_orig_mod" in key for key in net.state_dict())


def test_determinism_is_switched_on_and_off_again() -> None:
    try:
        set_determinism(True)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        set_determinism(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    assert not torch.are_deterministic_algorithms_enabled()
