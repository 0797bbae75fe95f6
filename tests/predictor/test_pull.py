"""A registered bundle into a directory, from a real MLflow with sqlite."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.bundle import MANIFEST, Bundle
from predictor.pull import main


@pytest.fixture(scope="module")
def registry(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Version 1 is the bundle, version 2 a damaged one; champion is 1."""
    import mlflow

    home = tmp_path_factory.mktemp("registry")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    experiment = mlflow.create_experiment("e", artifact_location=(home / "a").as_uri())
    client.create_registered_model("chest")
    whole, damaged = home / "whole", home / "damaged"
    for copy in (whole, damaged):
        shutil.copytree(bundle.path, copy, ignore=shutil.ignore_patterns(".cache"))
    with (damaged / "model.onnx").open("r+b") as file:
        file.write(b"damage")
    for path in (whole, damaged):
        run = client.create_run(experiment)
        client.log_artifacts(run.info.run_id, str(path), "bundle")
        source = f"{run.info.artifact_uri}/bundle"
        client.create_model_version("chest", source, run.info.run_id)
    client.set_registered_model_alias("chest", "champion", "1")
    yield home
    mlflow.set_tracking_uri(before)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("address", ["mlflow://chest/1", "mlflow://chest@champion"])
def test_the_bundle_alone_is_in_the_directory(
    bundle: Bundle, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "models"
    assert main([address, str(directory)]) == 0
    assert f"{address}: version 1 is in {directory}" in capsys.readouterr().out
    pulled = Bundle.open(directory)
    pulled.verify()
    assert pulled.digest == bundle.digest
    files = {str(each.relative_to(directory)) for each in directory.rglob("*") if each.is_file()}
    assert files == {*bundle.manifest.files, MANIFEST}
    assert not [each for each in directory.iterdir() if each.name.startswith("sightline-")]


@pytest.mark.usefixtures("registry")
def test_a_damaged_bundle_leaves_no_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mlflow://chest/2", str(tmp_path)]) == 1
    assert "model.onnx has SHA-256" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("mlflow://chest/9", "chest/9"),
        ("mlflow://chest@nobody", "nobody"),
        ("mlflow://chest", "accepted: models:/NAME/VERSION"),
        ("s3://models/chest", "accepted: mlflow://NAME/VERSION, mlflow://NAME@ALIAS"),
    ],
)
def test_what_is_not_there_or_no_address_is_named(
    address: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([address, str(tmp_path)]) == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("registry")
def test_what_was_pulled_before_is_replaced(bundle: Bundle, tmp_path: Path) -> None:
    for _ in range(2):
        assert main(["mlflow://chest/1", str(tmp_path)]) == 0
    Bundle.open(tmp_path).verify()
