"""`python -m predictor.pull mlflow://NAME/VERSION DIRECTORY`: a registered bundle into a directory.

What a ClusterStorageContainer of KServe runs: KServe's own storage initializer reads buckets and
volumes, but no registry.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.bundle import MANIFEST, Bundle
from model.errors import SightlineError
from predictor.errors import StartError
from predictor.source import resolve

SCHEME = "mlflow://"


def pull(address: str, directory: Path) -> str:
    """Download a bundle, verify it and put it into a directory, its manifest last.

    Args:
        address: `mlflow://NAME/VERSION` or `mlflow://NAME@ALIAS`.
        directory: takes the bundle's files; made if need be. What else is there stays.

    Returns:
        The version that it was.

    Raises:
        SightlineError: there is no such bundle, or it is damaged; the directory has no manifest
            that was not there before.
    """
    if not address.startswith(SCHEME):
        raise StartError(
            f"{address!r} is not accepted; accepted: {SCHEME}NAME/VERSION, {SCHEME}NAME@ALIAS"
        )
    directory.mkdir(parents=True, exist_ok=True)
    # On the same volume, so that files are moved and not copied; an init container has no other.
    source = resolve("models:/" + address.removeprefix(SCHEME), scratch=directory)
    try:
        bundle = Bundle.open(source.path)
        bundle.verify()
        for name in (*bundle.manifest.files, MANIFEST):
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (bundle.path / name).replace(target)
    finally:
        source.close()
    return str(source.version)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m predictor.pull",
        description="Fetch a bundle from the MLflow registry at MLFLOW_TRACKING_URI.",
    )
    parser.add_argument("source", help="mlflow://NAME/VERSION or mlflow://NAME@ALIAS")
    parser.add_argument("directory", type=Path)
    options = parser.parse_args(argv)
    try:
        version = pull(options.source, options.directory)
    except (SightlineError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 1
    print(f"{options.source}: version {version} is in {options.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
