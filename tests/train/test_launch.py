from pathlib import Path

import pytest
import torch
from torch import nn

from model.architectures import build
from train.__main__ import main
from train.batches import batches_per_epoch
from train.device import choose_device
from train.distributed import World
from train.errors import ConfigError
from train.launch import ALONE, Launch
from train.recipe import LoopConfig
from train.replica import check_synchronisable, synchronised

SECOND = {
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node-0", "MASTER_PORT": "29500",
}  # fmt: skip


def test_a_process_knows_its_place() -> None:
    assert Launch.from_environment({}) == ALONE
    assert Launch.from_environment(SECOND) == Launch(5, 8, 1, 4)
    assert Launch.from_environment(SECOND).prefix == "rank 5: "
    assert ALONE.prefix == ""


def test_a_cluster_that_counts_one_process_is_no_torchrun() -> None:
    assert Launch.from_environment({"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "x"}) == ALONE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"LOCAL_RANK": "", "MASTER_PORT": ""},
            "LOCAL_RANK, MASTER_PORT is not: start .* torchrun",
        ),
        ({"RANK": ""}, "is set, but RANK is not"),
        ({"RANK": "one"}, "variable RANK is 'one'; a number"),
        ({"RANK": "8"}, "contradicts itself: RANK=8, WORLD_SIZE=8"),
        ({"LOCAL_RANK": "4"}, "contradicts itself"),
    ],
)
def test_variables_that_are_missing_or_wrong_are_named(
    change: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Launch.from_environment(SECOND | change)


@pytest.mark.parametrize(
    "arguments",
    [["evaluate", "--run", "x"], ["export", "--run", "x"], ["release", "--run", "x"], ["demo"],
     ["phantom", "x"]],
)  # fmt: skip
def test_the_other_steps_are_one_process(
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in SECOND.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 2
    told = f"rank 5: error: `{arguments[0]}` runs as one process, and torchrun has started 8"
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_batch_is_shared_evenly_or_refused() -> None:
    loop = LoopConfig(batch_size=12)
    assert batches_per_epoch(100, loop, Launch(0, 3, 0, 3)) == 8
    with pytest.raises(ConfigError, match=r"loop\.batch_size is 12, .* all 8 processes .* of 8"):
        batches_per_epoch(100, loop, Launch(0, 8, 0, 8))


def test_every_process_gets_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two GPUs are pretended: what is asked here is only which one is chosen.
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert choose_device("auto", Launch(3, 4, 1, 2)) == torch.device("cuda", 1)
    assert chosen == [torch.device("cuda", 1)]
    with pytest.raises(ConfigError, match=r"started 4 processes .* 2 GPU\(s\).*nproc-per-node=2"):
        choose_device("cuda", Launch(0, 4, 0, 4))
    assert choose_device("cpu", Launch(0, 4, 0, 4)) == torch.device("cpu")


def test_batch_normalisation_is_synchronised_between_gpus_alone() -> None:
    loop, several = LoopConfig(sync_batchnorm=True), World(Launch(0, 2, 0, 2))
    with pytest.raises(ConfigError, match=r"loop\.sync_batchnorm is true, .* only between GPUs"):
        check_synchronisable(loop, torch.device("cpu"), several)
    check_synchronisable(loop, torch.device("cuda"), several)
    check_synchronisable(loop, torch.device("cpu"), World())
    network = build("baseline", 3)
    weights = network.state_dict()
    assert synchronised(network, loop, World()) is network
    assert not any(isinstance(each, nn.SyncBatchNorm) for each in network.modules())
    network = synchronised(network, loop, several)
    assert any(isinstance(each, nn.SyncBatchNorm) for each in network.modules())
    assert not any(type(each) is nn.BatchNorm2d for each in network.modules())
    assert network.state_dict().keys() == weights.keys()


def test_no_gpu_where_one_is_demanded_is_an_error_for_every_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"loop\.device is 'cuda', but no CUDA device"):
        choose_device("cuda", Launch(1, 2, 1, 2))
    assert choose_device("auto", Launch(1, 2, 1, 2)) == torch.device("cpu")
