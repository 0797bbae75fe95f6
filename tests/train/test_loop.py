import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.architectures import Classifier, build
from train.checkpoint import BEST, LAST, load_checkpoint, load_weights, save_checkpoint
from train.config import TrainConfig
from train.data import Dataset, load_dataset
from train.device import choose_device, seed_everything
from train.errors import ConfigError, RunError, TrainingError
from train.inference import logits_of
from train.loop import Progress, fit
from train.losses import negative_log_likelihood
from train.metrics import macro_f1
from train.state import Epoch

from .conftest import shapes_tree

Loop = dict[str, object]


@pytest.fixture
def config(shapes: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig.model_validate(shapes_tree(shapes, tmp_path / "run"))


@pytest.fixture
def data(config: TrainConfig) -> Dataset:
    return load_dataset(config.data, config.output / "cache")


def with_loop(config: TrainConfig, **changes: object) -> TrainConfig:
    return config.model_copy(update={"loop": config.loop.model_copy(update=changes)})


def train(config: TrainConfig, data: Dataset, epochs: list[tuple[Epoch, bool]]) -> Classifier:
    seed_everything(config.seed)
    network = build("baseline", 3, {"depth": 2, "width": 8})
    everything = np.arange(len(data.samples))
    progress = Progress(
        on_step=lambda done, total: None,
        on_epoch=lambda epoch, improved: epochs.append((epoch, improved)),
    )
    fit(network, data, everything[::2], everything[1::2], config, progress)
    return network


def test_it_learns(config: TrainConfig, data: Dataset) -> None:
    epochs: list[tuple[Epoch, bool]] = []
    train(config, data, epochs)
    first, last = epochs[0][0], epochs[-1][0]
    assert last.train_loss < first.train_loss - 0.15
    assert max(epoch.val_macro_f1 for epoch, _ in epochs) > 0.7


def test_the_best_checkpoint_gives_the_best_epochs_score(
    config: TrainConfig, data: Dataset
) -> None:
    epochs: list[tuple[Epoch, bool]] = []
    train(with_loop(config, epochs=3), data, epochs)
    best = [epoch for epoch, improved in epochs if improved][-1]
    state = load_checkpoint(config.output / BEST)
    assert state["epoch"] == best.epoch
    assert load_checkpoint(config.output / LAST)["at"]["epoch"] == 4
    network = load_weights(build("baseline", 3, {"depth": 2, "width": 8}), config.output / BEST)
    val = np.arange(len(data.samples))[1::2]
    predicted = logits_of(network, data.images[val], torch.device("cpu")).argmax(1)
    assert macro_f1(data.labels[val], predicted, 3) == pytest.approx(best.val_macro_f1)


def test_the_seed_decides_the_weights(config: TrainConfig, data: Dataset) -> None:
    short = with_loop(config, epochs=1)
    first, second = train(short, data, []).state_dict(), train(short, data, []).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = train(short.model_copy(update={"seed": 2}), data, []).state_dict()
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_it_stops_when_nothing_gets_better(config: TrainConfig, data: Dataset) -> None:
    epochs: list[tuple[Epoch, bool]] = []
    train(with_loop(config, epochs=40, patience=2, learning_rate=1e-9), data, epochs)
    assert len(epochs) < 40
    assert [improved for _, improved in epochs[-2:]] == [False, False]


def test_a_loss_that_is_no_number_ends_it(config: TrainConfig, data: Dataset) -> None:
    wild = with_loop(config, learning_rate=1e30, warmup_epochs=0.0, epochs=20)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) in epoch \d+, step \d+"):
        train(wild, data, [])


def test_too_few_images_for_a_batch_are_named(config: TrainConfig, data: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"loop\.batch_size is 500; there are only 36"):
        train(with_loop(config, batch_size=500), data, [])


def test_a_gpu_that_is_not_there_is_named() -> None:
    if torch.cuda.is_available():
        assert choose_device("cuda").type == "cuda"
    else:
        with pytest.raises(ConfigError, match=r"loop\.device is 'cuda'"):
            choose_device("cuda")
    assert choose_device("cpu").type == "cpu"


def test_the_loss_is_given_logits(
    config: TrainConfig, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    original = torch.nn.functional.cross_entropy

    def spy(logits: torch.Tensor, *rest: object, **more: object) -> torch.Tensor:
        seen.append(logits.detach())
        return original(logits, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("train.losses.F.cross_entropy", spy)
    train(with_loop(config, epochs=1), data, [])
    assert any((batch < 0).any() for batch in seen)
    assert not all(torch.allclose(b.sum(1), torch.ones(len(b)), atol=1e-3) for b in seen)


def test_every_figure_can_be_monitored(config: TrainConfig, data: Dataset) -> None:
    for monitor in ("macro_f1", "balanced_accuracy", "accuracy", "auroc", "val_loss"):
        epochs: list[tuple[Epoch, bool]] = []
        train(with_loop(config, epochs=3, monitor=monitor), data, epochs)
        figures = [
            -epoch.val_loss if monitor == "val_loss" else epoch.figures[f"val_{monitor}"]
            for epoch, _ in epochs
        ]
        best = load_checkpoint(config.output / BEST)["epoch"]
        assert figures[best - 1] == max(figures)


def test_the_average_is_what_is_judged_and_kept(config: TrainConfig, data: Dataset) -> None:
    epochs: list[tuple[Epoch, bool]] = []
    last = train(with_loop(config, epochs=4, ema_decay=0.95), data, epochs)
    number = load_checkpoint(config.output / BEST)["epoch"]
    kept = load_weights(build("baseline", 3, {"depth": 2, "width": 8}), config.output / BEST)
    val = np.arange(len(data.samples))[1::2]
    logits = logits_of(kept, data.images[val], torch.device("cpu"))
    assert negative_log_likelihood(logits, data.labels[val]) == pytest.approx(
        epochs[number - 1][0].val_loss
    )
    state = load_checkpoint(config.output / LAST)
    average = {k.removeprefix("module."): v for k, v in state["average"].items()}
    assert not torch.equal(average["head.2.weight"], last.state_dict()["head.2.weight"])


def test_the_backbone_is_frozen_for_its_epochs(config: TrainConfig, data: Dataset) -> None:
    seed_everything(config.seed)
    network = build("baseline", 3, {"depth": 2, "width": 8})
    begun = {key: tensor.clone() for key, tensor in network.features.state_dict().items()}
    same: list[bool] = []

    def on_epoch(epoch: Epoch, improved: bool) -> None:
        now = network.features.state_dict()
        same.append(all(torch.equal(begun[key], now[key]) for key in begun))

    everything = np.arange(len(data.samples))
    progress = Progress(lambda done, total: None, on_epoch)
    frozen = with_loop(config, epochs=3, freeze_epochs=2)
    fit(network, data, everything[::2], everything[1::2], frozen, progress)
    assert same == [True, True, False]


def test_a_compiled_training_leaves_the_same_checkpoint(
    config: TrainConfig, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the last stage of torch.compile, which would work for most of a minute.
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net: original(net, backend="aot_eager"))
    whole = with_loop(config, epochs=1)
    eager = train(whole, data, []).state_dict()
    compiled = train(with_loop(whole, compile=True), data, []).state_dict()
    kept = load_checkpoint(config.output / BEST)["model"]
    assert kept.keys() == eager.keys()
    assert all(torch.allclose(compiled[key], eager[key], atol=1e-3) for key in eager)
    assert all(torch.equal(kept[key], compiled[key]) for key in eager)


def test_a_training_that_cannot_be_compiled_says_so_and_ends(
    config: TrainConfig, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(graph: object, inputs: object) -> object:
        raise RuntimeError("no C++ compiler")

    original, told = torch.compile, list[str]()
    monkeypatch.setattr(torch, "compile", lambda net: original(net, backend=broken))
    network = build("baseline", 3, {"depth": 2, "width": 8})
    everything = np.arange(len(data.samples))
    progress = Progress(lambda *_: None, lambda *_: None, told.append)
    chosen = with_loop(config, epochs=1, compile=True)
    assert len(fit(network, data, everything[::2], everything[1::2], chosen, progress)) == 1
    assert len(told) == 1
    assert "RuntimeError: no C++ compiler" in told[0]


def test_the_last_group_of_batches_may_be_smaller(config: TrainConfig, data: Dataset) -> None:
    # 36 images are 9 batches of 4: groups of 4, 4 and 1.
    steps = []
    network = build("baseline", 3, {"depth": 2, "width": 8})
    everything = np.arange(len(data.samples))
    progress = Progress(lambda done, total: steps.append((done, total)), lambda *_: None)
    grouped = with_loop(config, epochs=1, accumulate=4)
    history = fit(network, data, everything[::2], everything[1::2], grouped, progress)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert 0.5 < history[0].train_loss < 2.0


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "balanced"},
        {"class_weights": "balanced", "loss": "focal"},
        {"optimiser": "sgd", "schedule": "one_cycle", "warmup_epochs": 4.0},
        {"schedule": "plateau", "accumulate": 2, "ema_decay": 0.9, "amp": "bf16"},
    ],
)
def test_it_learns_with_other_settings(
    config: TrainConfig, data: Dataset, changes: dict[str, object]
) -> None:
    epochs: list[tuple[Epoch, bool]] = []
    train(with_loop(config, **changes), data, epochs)
    assert max(epoch.val_macro_f1 for epoch, _ in epochs) > 0.55


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "best.pt"
    save_checkpoint(file, {"model": {"w": torch.ones(3)}, "epoch": 1})

    class Unwritable:
        def __reduce__(self) -> str:
            raise OSError(errno.ENOSPC, "disk full")

    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(file, {"model": Unwritable()})
    assert load_checkpoint(file)["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


def test_a_missing_or_foreign_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"best\.pt is missing; `python -m train fit` writes it"):
        load_checkpoint(tmp_path / "best.pt")
    (tmp_path / "best.pt").write_bytes(b"something else")
    with pytest.raises(RunError, match="no readable checkpoint"):
        load_checkpoint(tmp_path / "best.pt")


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    torch.save({"model": replace}, tmp_path / "best.pt")
    with pytest.raises(RunError, match="no readable checkpoint"):
        load_checkpoint(tmp_path / "best.pt")
