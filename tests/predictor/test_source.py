import asyncio
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.bundle import Bundle
from predictor.errors import StartError
from predictor.metrics import Metrics
from predictor.served import load
from predictor.settings import Settings
from predictor.source import resolve


def test_a_directory_is_a_bundle_or_has_one_inside(bundle: Bundle, tmp_path: Path) -> None:
    assert resolve(str(bundle.path)).path == bundle.path
    assert resolve(str(bundle.path)).version is None
    shutil.copytree(bundle.path, tmp_path / "bundle")
    assert resolve(str(tmp_path)).path == tmp_path / "bundle"


def test_a_directory_without_a_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"neither it nor its bundle/ has a manifest\.json"):
        resolve(str(tmp_path))
    with pytest.raises(StartError, match="absent: there is no such directory"):
        resolve(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    "address",
    ["models:/", "models:/chest", "models:/chest/latest", "models:/chest@", "models://chest/1/2"],
)
def test_a_wrong_registry_address_is_refused_with_those_accepted(address: str) -> None:
    with pytest.raises(StartError, match="accepted: models:/NAME/VERSION with a number, models:/N"):
        resolve(address)


def test_other_storage_is_left_to_kserve() -> None:
    with pytest.raises(StartError, match="storage initializer"):
        resolve("s3://bucket/model")


def test_without_mlflow_a_registry_address_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(StartError, match="mlflow cannot be imported"):
        resolve("models:/chest/1")


def fill_registry(directory: Path, bundle: Bundle) -> None:
    """Log the same bundle in two ways: as the artefacts themselves, and as `bundle/` in them."""
    import mlflow

    client = mlflow.MlflowClient()
    experiment = mlflow.create_experiment("e", artifact_location=(directory / "a").as_uri())
    client.create_registered_model("chest")
    for artefact_path in (None, "release/bundle"):
        run = client.create_run(experiment)
        client.log_artifacts(run.info.run_id, str(bundle.path), artefact_path)
        source = f"{run.info.artifact_uri}/{'release' if artefact_path else ''}".rstrip("/")
        client.create_model_version("chest", source, run.info.run_id)
    client.set_registered_model_alias("chest", "champion", "2")


@pytest.fixture(scope="module")
def registry_home(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import mlflow

    directory = tmp_path_factory.mktemp("registry")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{directory / 'mlflow.db'}")
    # Without what serving it has left beside it: other tests use the same bundle.
    released = directory / "released"
    shutil.copytree(bundle.path, released, ignore=shutil.ignore_patterns(".cache"))
    fill_registry(directory, Bundle.open(released))
    yield directory
    mlflow.set_tracking_uri(before)


@pytest.mark.usefixtures("registry_home")
@pytest.mark.parametrize(
    ("address", "version"),
    [("models:/chest/1", "1"), ("models:/chest/2", "2"), ("models:/chest@champion", "2")],
)
def test_a_registered_version_is_downloaded_and_its_number_kept(
    bundle: Bundle, address: str, version: str
) -> None:
    source = resolve(address)
    assert source.version == version
    downloaded = Bundle.open(source.path)
    downloaded.verify()
    assert downloaded.digest == bundle.digest
    source.close()
    assert not source.path.exists()


@pytest.mark.usefixtures("registry_home")
def test_the_choice_of_the_engine_is_not_kept_in_a_download(metrics: Metrics) -> None:
    served = load(Settings(bundle="models:/chest/1", engine="onnxruntime"), metrics)
    kept = (served.source.path / ".cache").exists()
    asyncio.run(served.close())
    assert not kept


@pytest.mark.usefixtures("registry_home")
@pytest.mark.parametrize("address", ["models:/chest/9", "models:/chest@nobody", "models:/other/1"])
def test_what_the_registry_does_not_have_is_named(address: str) -> None:
    with pytest.raises(StartError, match=address):
        resolve(address)
