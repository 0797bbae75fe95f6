"""The network compiled, or as it is where that fails."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from train.device import Precision


def compiled(
    network: nn.Module, example: Tensor, precision: Precision, say: Callable[[str], None]
) -> nn.Module:
    """Compile a network for training, and try it forwards and backwards once.

    Compilers fail late, at the first forward or backward pass, so both are taken here, where
    nothing is lost: buffers, gradients and random numbers are as before.

    Args:
        network: its own parameters and buffers are used by what is returned.
        example: a batch, float [B, 3, H, W].
        precision: of the forward pass.
        say: told why, where it fails.

    Returns:
        What is to be called in training: the compiled network, or `network` itself.
    """
    buffers = [buffer.clone() for buffer in network.buffers()]
    training = network.training
    module = cast(nn.Module, torch.compile(network))
    with torch.random.fork_rng(devices=[example.device] if example.is_cuda else []):
        try:
            network.train()
            with precision.autocast():
                answer = module(example)
            answer.float().sum().backward()
        except Exception as error:  # noqa: BLE001 - whatever a compiler below torch's may raise
            # What torch wraps around a compiler's own error begins with the compiler's name only.
            cause = getattr(error, "inner_exception", error)
            reason = f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"
            say(f"loop.compile: it failed, training goes on without: {reason}")
            torch.compiler.reset()
            module = network
        finally:
            network.train(training)
            network.zero_grad(set_to_none=True)
            with torch.no_grad():
                for buffer, before in zip(network.buffers(), buffers, strict=True):
                    buffer.copy_(before)
    return module
