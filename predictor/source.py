"""Where a bundle comes from: a directory, or a version in an MLflow registry."""

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.bundle import MANIFEST
from predictor.errors import StartError

_ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[0-9]+)|@(?P<alias>[^/@]+))")
_USER = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Source:
    """A bundle on this machine.

    Attributes:
        path: the directory that holds its manifest.
        version: of the registry, or None for a plain directory.
        download: where a downloaded bundle is kept until :meth:`close`.
    """

    path: Path
    version: str | None = None
    download: tempfile.TemporaryDirectory[str] | None = None

    @property
    def lasting(self) -> Path | None:
        """The directory, if it is still there at the next start."""
        return self.path if self.download is None else None

    def close(self) -> None:
        """Remove what was downloaded."""
        if self.download is not None:
            self.download.cleanup()


def resolve(address: str, scratch: Path | None = None) -> Source:
    """Find a bundle, downloading it if need be.

    An alias is resolved to a version once, here: what is served does not change under way, and a
    restart shows in the version.

    Args:
        address: a directory, or `models:/NAME/VERSION` or `models:/NAME@ALIAS`. The bundle is the
            directory or the version's artefacts themselves, or `bundle/` in them.
        scratch: where it is downloaded to; the system's folder for temporary files if None.

    Raises:
        StartError: there is no such bundle; says what was looked for.
    """
    if address.startswith("models:"):
        return _from_registry(address, scratch)
    if "://" in address:
        raise StartError(
            f"bundle {address!r} is not accepted; accepted: a directory, models:/NAME/VERSION or "
            "models:/NAME@ALIAS (KServe's storage initializer fetches other addresses)"
        )
    return Source(_bundle_in(Path(address), address))


def _from_registry(address: str, scratch: Path | None) -> Source:
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise StartError(
            f"bundle {address!r} is not a registry address; accepted: models:/NAME/VERSION with a "
            "number, models:/NAME@ALIAS"
        )
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise StartError(f"bundle {address}: mlflow cannot be imported: {error}") from None
    # A progress bar is no log line.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    name, alias = match["name"], match["alias"]
    directory = tempfile.TemporaryDirectory(prefix="sightline-", dir=scratch)
    try:
        version = match["version"] or _version_of(mlflow, name, alias)
        path = mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{name}/{version}", dst_path=directory.name
        )
        found = _bundle_in(Path(path), f"{address} (version {version})")
    except (MlflowException, OSError) as error:
        directory.cleanup()
        message = _USER.sub("//", str(error).partition("\n")[0])
        raise StartError(f"bundle {address}: {message}") from None
    except StartError:
        directory.cleanup()
        raise
    return Source(found, version, directory)


def _version_of(mlflow: Any, name: str, alias: str) -> str:
    client = mlflow.MlflowClient()
    return str(client.get_model_version_by_alias(name, alias).version)


def _bundle_in(directory: Path, address: str) -> Path:
    if not directory.is_dir():
        raise StartError(f"bundle {address}: there is no such directory")
    for candidate in (directory, directory / "bundle"):
        if (candidate / MANIFEST).is_file():
            return candidate
    raise StartError(f"bundle {address}: neither it nor its bundle/ has a {MANIFEST}")
