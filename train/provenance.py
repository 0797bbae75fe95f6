"""Where a model comes from: code, settings, data, machine."""

import hashlib
import os
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import torch
import torch.distributed as dist

from model.manifest import Machine, Provenance
from train.config import TrainConfig, dump_config
from train.machine import summary

REVISION = "SIGHTLINE_REVISION"
# All that decode, split, train, export or judge; of the runtimes, those that are installed.
_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "imagecodecs",
    "pydicom",
    "imagehash",
    "pyarrow",
    "pydantic",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "mlflow",
)


def provenance(
    config: TrainConfig,
    fingerprint: str,
    split: str,
    machine: Machine,
    seconds: float,
    epochs: int,
) -> Provenance:
    """Collect the provenance of a training that has just ended.

    Args:
        config: the run.
        fingerprint: of the data.
        split: digest of the test split.
        machine: what it was trained on.
        seconds: wall time of the training.
        epochs: how many were run.
    """
    commit, dirty = code_revision()
    return Provenance(
        git_commit=commit,
        git_dirty=dirty,
        config_sha256=hashlib.sha256(dump_config(config).encode()).hexdigest(),
        data_fingerprint=fingerprint,
        split_sha256=split,
        seed=config.seed,
        versions=package_versions(),
        hardware=summary(machine),
        machine=machine,
        trained_seconds=round(seconds, 3),
        epochs=epochs,
    )


def code_revision() -> tuple[str | None, bool | None]:
    """The commit of this code, and whether it has been changed since; None where nobody knows.

    An installed copy may lie in a repository of something else, and in an image there is none: its
    build says what it was made from, with `-dirty` behind it if that had been changed.
    """
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is not None:
        status = _git("status", "--porcelain")
        return _git("rev-parse", "HEAD"), None if status is None else bool(status)
    told = os.environ.get(REVISION, "")
    if told in ("", "unknown"):
        return None, None
    return told.removesuffix("-dirty"), told.endswith("-dirty")


def package_versions() -> dict[str, str]:
    """Versions of Python, the libraries and the system that a model depends on."""
    versions = {"python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    if torch.cuda.is_available():
        versions["cuda"] = str(torch.version.cuda)
        versions["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
        if dist.is_nccl_available():
            versions["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))  # type: ignore[no-untyped-call]
    return versions


def _git(*arguments: str) -> str | None:
    # The code is where this file is, which need not be where the command was started.
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments],  # noqa: S607 - whichever git is there
            check=False,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
