"""Take CRDs and other manifests out of the Go modules of the projects that publish them.

usage: fetch-manifests.py [--go GO] LIST DIRECTORY

A line of the list is a module, its version, its checksum as go.sum has it, and the files in it;
`*` stands for any name.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path


def fetch(go: str, module: str, version: str, checksum: str) -> Path:
    """Download a module and return its directory; one with another checksum is an error."""
    with tempfile.TemporaryDirectory() as empty:
        # Away from any go.mod: the module is wanted, none of what it depends on.
        result = subprocess.run(
            [go, "mod", "download", "-json", f"{module}@{version}"],
            cwd=empty,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    answer = json.loads(result.stdout or "{}")
    if "Dir" not in answer:
        raise SystemExit(f"{module} {version}: {answer.get('Error', 'go has failed')}")
    if answer["Sum"] != checksum:
        raise SystemExit(f"{module} {version} has checksum {answer['Sum']}, not {checksum}")
    return Path(answer["Dir"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--go", default="go", help="(%(default)s)")
    parser.add_argument("list", type=Path)
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    if shutil.which(options.go) is None:
        raise SystemExit(
            f"{options.go} is not installed; it fetches the modules: https://go.dev/dl/"
        )
    options.directory.mkdir(parents=True, exist_ok=True)
    for line in options.list.read_text().splitlines():
        module, version, checksum, *files = line.split()
        home = fetch(options.go, module, version, checksum)
        for pattern in files:
            found = sorted(home.glob(pattern))
            if not found:
                raise SystemExit(f"{module} {version} has no {pattern}")
            for file in found:
                target = options.directory / file.name
                target.unlink(missing_ok=True)
                # The cache is read-only, and so would be its copy.
                shutil.copyfile(file, target)


if __name__ == "__main__":
    main()
