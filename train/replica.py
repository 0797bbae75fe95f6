"""A network whose gradients several processes average."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.architectures import Classifier
from train.distributed import World
from train.errors import ConfigError
from train.recipe import LoopConfig


def check_synchronisable(loop: LoopConfig, device: torch.device, world: World) -> None:
    """Refuse a synchronisation that PyTorch does not have.

    Raises:
        ConfigError: the processes compute on CPUs.
    """
    if loop.sync_batchnorm and not world.alone and device.type != "cuda":
        raise ConfigError(
            "loop.sync_batchnorm is true, but PyTorch synchronises batch normalisation only "
            f"between GPUs, and this training is on {device.type}; accepted here: false"
        )


def synchronised(network: Classifier, loop: LoopConfig, world: World) -> Classifier:
    """A network whose batch normalisation sees the images of all processes, where that is wanted.

    Its layers are replaced in place; weights and their names stay as they are.
    """
    if not loop.sync_batchnorm or world.alone:
        return network
    convert = cast(Callable[[nn.Module], nn.Module], nn.SyncBatchNorm.convert_sync_batchnorm)
    return cast(Classifier, convert(network))


class Replica:
    """One of several copies of a network, each of which sees its share of the images.

    Each forward pass begins with the buffers of rank 0.

    Args:
        module: the network, or what is called in its place.
        device: of this process.
        world: the processes; one alone has the network as it is.
    """

    def __init__(self, module: nn.Module, device: torch.device, world: World) -> None:
        self._module = module
        self._device = device
        self._alone = world.alone
        self._learning: list[bool] = []
        self._outer = module

    def prepared(self, example: Callable[[], Tensor]) -> nn.Module:
        """What a step calls while the same parameters learn; asked for whenever they may change.

        Args:
            example: makes a batch, float [B, 3, H, W], where one is needed.
        """
        learning = [parameter.requires_grad for parameter in self._module.parameters()]
        if not self._alone and learning != self._learning:
            self._learning = learning
            ids = [self._device.index] if self._device.type == "cuda" else None
            self._outer = DistributedDataParallel(self._module, device_ids=ids)
            self._settle(example())
        return self._outer

    def _settle(self, example: Tensor) -> None:
        """Let the order be found in which gradients come.

        The first backward pass finds it, and from the second on they are added up in that order.
        With three processes, a training that is resumed would differ in the last bit. In evaluation
        mode nothing else is changed by it.
        """
        modes = [(each, each.training) for each in self._outer.modules()]
        self._outer.eval()
        self._outer(example).sum().backward()
        self._module.zero_grad(set_to_none=True)
        for each, training in modes:
            each.training = training


def summing(module: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """The context of one of several batches of a step: gradients are averaged with the last one."""
    if last or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return cast(AbstractContextManager[None], module.no_sync())
