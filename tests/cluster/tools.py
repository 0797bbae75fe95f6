"""Where the programs of a control plane are."""

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "build/tools"
MANIFESTS = BUILT / "cluster"


def program(name: str) -> str:
    """A program out of `KUBEBUILDER_ASSETS`, or what `make cluster-tools` builds.

    The variable is what Go's envtest reads, so whoever tests controllers has such a folder
    already; it holds etcd, kube-apiserver and kubectl.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    folders = [*([Path(assets)] if assets else []), BUILT / "kubernetes", BUILT]
    for folder in folders:
        found = shutil.which(str(folder / name))
        if found:
            return found
    raise RuntimeError(
        f"{name} is in none of {', '.join(map(str, folders))}: run `make cluster-tools`"
    )


def manifest(name: str) -> Path:
    """A file that `make cluster-tools` has taken out of a module."""
    file = MANIFESTS / name
    if not file.is_file():
        raise RuntimeError(f"{file} is missing: run `make cluster-tools`")
    return file
