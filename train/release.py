"""The step `release`: register the bundle, ask the gate, move the alias or refuse."""

import tempfile
from pathlib import Path, PurePosixPath

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from model.bundle import MANIFEST, Bundle
from model.errors import SightlineError
from train.errors import ConfigError, TrackingError
from train.gate import Verdict, judge
from train.run import Run
from train.tracking import Tracker
from train.tracking.mlflow import connect, talking_to, tracking_uri
from train.training import read_training
from train.weights import RELEASING_RUN

RELEASE = "release.json"


class Release(Verdict):
    """The gate's decision with the version that it was about."""

    model_name: str
    version: str
    alias: str
    tracking_uri: str


def run_release(run: Run) -> Release:
    """Register a run's bundle and let the gate decide on its alias.

    Raises:
        SightlineError: the bundle, the registry or the champion cannot be read; the alias stays.
        TrackingError: the registry cannot be reached; nothing is registered.
    """
    bundle = Bundle.open(run.bundle_path)
    bundle.verify()
    config = run.config
    if config.tracking.tracker != "mlflow":
        raise ConfigError(
            f"tracking.tracker is {config.tracking.tracker!r}; a release needs a registry: mlflow"
        )
    uri, alias = tracking_uri(config.tracking), config.release.alias
    try:
        client = connect(config.tracking)
    except TrackingError as error:
        raise type(error)(
            f"{error}\nA release needs the model registry; nothing was registered, and alias "
            f"{alias} stays. What the other steps recorded waits in the run directory."
        ) from error
    read_training(run)
    with (
        run.tracked() as tracker,
        talking_to(uri),
        tempfile.TemporaryDirectory() as scratch,
    ):
        current = _version_under(client, config.name, alias)
        champion = None if current is None else _download(current, uri, Path(scratch))
        verdict = judge(run, bundle, champion, None if current is None else str(current.version))
        _log_bundle(tracker, bundle)
        # A version stands for what is there, not for what is on its way.
        made = _register(client, tracker.sync(), bundle, config.name)
        version = str(made.version)
        tags = {
            "gate.verdict": verdict.word,
            "gate.reason": verdict.reason,
            "macro_f1": f"{verdict.macro_f1:.4f}",
            "bundle_sha256": bundle.digest,
        }
        for key, value in tags.items():
            client.set_model_version_tag(config.name, version, key, value)
        release = Release(
            **verdict.model_dump(),
            model_name=config.name,
            version=version,
            alias=alias,
            tracking_uri=uri,
        )
        tracker.log_files(run.write(RELEASE, release))
        tracker.set_tags(tags | {"model_version": version})
        tracker.log_metrics({"gate_promoted": float(verdict.promoted)})
        # Last: once it has moved, the new model serves.
        if verdict.promoted:
            _move_alias(client, release)
    run.console.say(
        f"version {version} of {config.name} {verdict.word}: {verdict.reason}\n"
        + (
            f"alias {alias} is now version {version}"
            if verdict.promoted
            else f"alias {alias} stays with version {verdict.champion_version or '(none)'}"
        )
    )
    return release


def _move_alias(client: MlflowClient, release: Release) -> None:
    current = _version_under(client, release.model_name, release.alias)
    found = None if current is None else str(current.version)
    # MLflow has no compare-and-set; this leaves a moment for another release, not minutes.
    if found != release.champion_version:
        raise SightlineError(
            f"alias {release.alias} has moved from version {release.champion_version or '(none)'} "
            f"to {found or '(none)'} while version {release.version} was judged; release again"
        )
    client.set_registered_model_alias(release.model_name, release.alias, release.version)


def _version_under(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _download(version: ModelVersion, uri: str, directory: Path) -> Bundle:
    try:
        path = mlflow.artifacts.download_artifacts(
            artifact_uri=version.source, dst_path=str(directory), tracking_uri=uri
        )
    except (MlflowException, OSError) as error:
        raise SightlineError(
            f"champion version {version.version} of {version.name} cannot be fetched "
            f"from {version.source}: {error}"
        ) from error
    bundle = Bundle.open(Path(path))
    bundle.verify()
    return bundle


def _log_bundle(tracker: Tracker, bundle: Bundle) -> None:
    # Only what the bundle is: a server that ran on it may have left its cache there.
    for name in (*bundle.manifest.files, MANIFEST):
        folder = PurePosixPath(_artifact_path(bundle), name).parent
        tracker.log_files(bundle.path / name, str(folder))


def _register(client: MlflowClient, run_id: str, bundle: Bundle, name: str) -> ModelVersion:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/{_artifact_path(bundle)}"
    return client.create_model_version(
        name, source, run_id, description=_description(bundle), tags={RELEASING_RUN: run_id}
    )


def _artifact_path(bundle: Bundle) -> str:
    # By content: a later export of the same run must not change what a version stands for.
    return f"bundle-{bundle.digest[:16]}"


def _description(bundle: Bundle) -> str:
    manifest = bundle.manifest
    return (
        f"{manifest.architecture.name}, {manifest.decode.width_px} x {manifest.decode.height_px}, "
        f"classes {', '.join(manifest.class_keys)}; "
        f"macro-F1 {manifest.metrics.macro_f1:.4f} on {manifest.metrics.images} test images"
    )
