"""Where a model comes from: code, settings, data, machine."""

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from model.manifest import Provenance
from train.config import TrainConfig, dump_config

_PACKAGES = ("torch", "torchvision", "onnx", "onnxruntime", "numpy", "pillow", "scikit-learn")


def provenance(
    config: TrainConfig, fingerprint: str, split: str, hardware: str, seconds: float, epochs: int
) -> Provenance:
    """Collect the provenance of a training that has just ended.

    Args:
        config: the run.
        fingerprint: of the data.
        split: digest of the test split.
        hardware: what it was trained on.
        seconds: wall time of the training.
        epochs: how many were run.
    """
    # An installed copy may lie in a repository of something else, and in an image there is none:
    # its build says what it was made from.
    ours = _git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    commit = _git("rev-parse", "HEAD") if ours else os.environ.get("SIGHTLINE_REVISION")
    status = _git("status", "--porcelain") if ours else None
    return Provenance(
        git_commit=commit,
        git_dirty=None if status is None else bool(status),
        config_sha256=hashlib.sha256(dump_config(config).encode()).hexdigest(),
        data_fingerprint=fingerprint,
        split_sha256=split,
        seed=config.seed,
        versions={"python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES},
        hardware=hardware,
        trained_seconds=round(seconds, 3),
        epochs=epochs,
    )


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


def hardware(device: torch.device) -> str:
    """The model of a GPU, or of the CPU with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), None)
    return f"{model or platform.machine()}, {torch.get_num_threads()} threads"
