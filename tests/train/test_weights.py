"""Weights to begin with: from files, from torchvision's cache, and from a real MLflow."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mlflow import MlflowClient
from torchvision import models

from model.architectures import ARCHITECTURES, Classifier, build
from train.backbones import PREFIXES, translated
from train.checkpoint import BEST
from train.config import TrackingConfig, TrainConfig, load_config
from train.console import Console
from train.errors import ConfigError, TrackingError
from train.initialisation import Fit, initialise
from train.recipe import ModelConfig
from train.release import run_release
from train.run import Run
from train.training import run_fit
from train.weights import find_weights

from .conftest import shapes_tree

NO_TRACKING = TrackingConfig(tracker="none")
OPTIONS = {"depth": 1, "width": 4}


def small(seed: int = 0, classes: int = 3) -> Classifier:
    torch.manual_seed(seed)
    return build("baseline", classes, OPTIONS)


def taken(network: Classifier, model: ModelConfig, tracking: TrackingConfig = NO_TRACKING) -> Fit:
    weights = find_weights(model, tracking)
    assert weights is not None
    return initialise(network, model, weights)


def equal(a: torch.nn.Module, b: torch.nn.Module, prefix: str = "") -> bool:
    mine, other = a.state_dict(), b.state_dict()
    return all(torch.equal(mine[key], other[key]) for key in mine if key.startswith(prefix))


@pytest.mark.parametrize("name", sorted(PREFIXES))
def test_torchvision_s_names_are_translated(name: str) -> None:
    with torch.device("meta"):
        theirs = models.get_model(name, num_classes=5).state_dict()
        ours = build(name, 5).state_dict()
    renamed = translated(name, theirs)
    assert renamed.keys() == ours.keys()
    assert all(renamed[key].shape == ours[key].shape for key in ours)
    assert set(PREFIXES) == set(ARCHITECTURES) - {"baseline"}


def test_the_names_in_densenet_s_published_file_are_translated() -> None:
    old = {"features.denseblock1.denselayer2.norm.1.weight": 1, "features.norm0.bias": 2}
    assert translated("densenet121", old) == {
        "features.0.denseblock1.denselayer2.norm1.weight": 1,
        "features.0.norm0.bias": 2,
    }


def test_torchvision_s_network_and_ours_answer_alike(tmp_path: Path) -> None:
    torch.manual_seed(3)
    theirs = models.resnet18(num_classes=4).eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    ours = build("resnet18", 4)
    model = ModelConfig(architecture="resnet18", weights=str(tmp_path / "resnet18.pth"))
    fit = taken(ours, model)
    assert fit.loaded == fit.expected
    assert (fit.missing, fit.unexpected, fit.mismatched, fit.classes) == ([], [], {}, None)
    x = torch.randn(2, 3, 64, 64)
    assert torch.allclose(ours.eval()(x), theirs(x), atol=1e-5)


def test_imagenet_comes_from_the_cache_and_its_head_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The published file is not brought here: one of the same name and form takes its place.
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    published = models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    theirs = models.resnet18()
    torch.save(theirs.state_dict(), tmp_path / "checkpoints" / published)
    ours = build("resnet18", 3)
    head = ours.state_dict()["head.0.weight"].clone()
    fit = taken(ours, ModelConfig(architecture="resnet18", weights="imagenet"))
    assert torch.equal(ours.state_dict()["features.0.weight"], theirs.conv1.weight)
    assert torch.equal(ours.state_dict()["head.0.weight"], head)
    assert fit.classes == 1000
    assert "it has 1000 classes: the last layer begins anew" in fit.describe()


def test_without_network_the_error_says_how_to_bring_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    # The only thing that is not real: no test may depend on there being no network.
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    with pytest.raises(ConfigError) as caught:
        find_weights(ModelConfig(architecture="resnet18", weights="imagenet"), NO_TRACKING)
    for part in (
        "https://download.pytorch.org/models/resnet18-",
        "Name or service not known",
        str(tmp_path / "checkpoints"),
        "$TORCH_HOME",
        "model.weights",
    ):
        assert part in str(caught.value)
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {f"_orig_mod.{k}": v for k, v in state.items()},
    ],
)
def test_wrappers_are_taken_off(tmp_path: Path, wrap: Any) -> None:
    source, network = small(1), small(2)
    torch.save(wrap(source.state_dict()), tmp_path / "w.pt")
    fit = taken(network, ModelConfig(weights=str(tmp_path / "w.pt"), options=OPTIONS))
    assert equal(network, source)
    assert fit.unexpected == []


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    state = small(1).state_dict()
    state["features.1.weight"] = torch.ones(9)
    del state["features.1.bias"]
    state["extra.weight"] = torch.ones(2)
    torch.save(state, tmp_path / "w.pt")
    network = small(2, classes=5)
    text = taken(network, ModelConfig(weights=str(tmp_path / "w.pt"))).describe()
    assert "missing in it: features.1.bias" in text
    assert "not of this network: extra.weight" in text
    assert "of another shape: features.1.weight [9] for [4]" in text
    assert "it has 3 classes" in text
    assert torch.equal(network.state_dict()["features.0.weight"], state["features.0.weight"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no weights", "no file of weights that torch reads without running code"),
        (Path, "no file of weights that torch reads without running code"),
        ({"epoch": 3}, "holds no tensors by name"),
        ([torch.ones(2)], "holds no tensors by name"),
        (models.mobilenet_v3_small(num_classes=2).state_dict(), "does not fit.*0 of the"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    file = tmp_path / "w.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    network, before = small(), small()
    with pytest.raises(ConfigError, match=message):
        taken(network, ModelConfig(weights=str(file), options=OPTIONS))
    assert equal(network, before)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.weights is '.*none\.pt', and there is no such"):
        find_weights(ModelConfig(weights=str(tmp_path / "none.pt")), NO_TRACKING)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.weights=imagenet"], r"model\.weights is 'imagenet', but model\.architecture is"),
        (["loop.freeze_epochs=2"], r"loop\.freeze_epochs is 2, but model\.weights is 'none'"),
    ],
)
def test_weights_that_cannot_be_are_refused_at_once(
    shapes: Path, tmp_path: Path, settings: list[str], message: str
) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(shapes_tree(shapes, tmp_path / "run")))
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "c.yaml", settings, {})


def test_a_released_model_and_an_artefact_are_begun_with(exported: Run, tmp_path: Path) -> None:
    # A registry of its own: other tests count what is in that of the run they share.
    shutil.copytree(exported.path.parent, tmp_path / "copy")
    store = f"tracking.uri=sqlite:///{tmp_path / 'copy' / 'mlflow.db'}"
    run = Run.open(tmp_path / "copy" / "run", [store], Console(io.StringIO()))
    run_release(run)
    tracking = run.config.tracking
    client = MlflowClient(tracking.uri)
    run_id = client.get_model_version(exported.config.name, "1").run_id
    assert run_id is not None
    client.log_artifact(run_id, str(exported.path / BEST), "weights")
    source = f"{client.get_run(run_id).info.artifact_uri}/weights"
    client.create_registered_model("by_hand")
    client.create_model_version("by_hand", source)
    name, options = exported.config.name, exported.config.model.options
    for address in (
        f"models:/{name}@champion",
        f"models:/{name}/1",
        "models:/by_hand/1",
        f"runs:/{run_id}/weights/{BEST}",
        f"runs:/{run_id}/weights",
    ):
        network = build("baseline", 3, options)
        taken(network, ModelConfig(weights=address, options=options), tracking)
        trained = exported.network()
        assert all(
            torch.allclose(tensor, trained.state_dict()[key])
            for key, tensor in network.state_dict().items()
            if not key.endswith("num_batches_tracked")
        )


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("models:/shapes@nobody", TrackingError),
        ("models:/nothing/7", TrackingError),
        ("models:/shapes/latest", ConfigError),
        ("runs:/0123456789abcdef0123456789abcdef/best.pt", TrackingError),
    ],
)
def test_what_mlflow_has_not_is_named(exported: Run, address: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"model.weights is '{address}'"):
        find_weights(ModelConfig(weights=address), exported.config.tracking)


def test_a_training_begins_with_them_and_says_so(shapes: Path, tmp_path: Path) -> None:
    tree = shapes_tree(shapes, tmp_path / "run")
    options = tree["model"]["options"]
    torch.save(build("baseline", 7, options).state_dict(), tmp_path / "w.pt")
    tree["model"]["weights"] = str(tmp_path / "w.pt")
    tree["loop"] |= {"epochs": 2, "freeze_epochs": 1, "layer_decay": 0.5}
    told = io.StringIO()
    run_fit(Run(TrainConfig.model_validate(tree), Console(told)))
    assert "it has 7 classes: the last layer begins anew" in told.getvalue()
    client = MlflowClient(tree["tracking"]["uri"])
    experiment = client.get_experiment_by_name("sightline")
    assert experiment is not None
    tags = client.search_runs([experiment.experiment_id])[0].data.tags
    assert tags["weights"].endswith("(w.pt)")
    assert len(tags["weights_sha256"]) == 64
