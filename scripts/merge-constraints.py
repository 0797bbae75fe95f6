"""Merge resolved requirement lists into one constraints file.

usage: merge-constraints.py RESOLVED... > constraints.txt

Every list is a resolution of some extras of this project. A package that two of them pin to
different versions is an error, and so is an ONNX Runtime whose CPU and GPU builds differ: a
released model has to give the same answers on both.
"""

import sys
from pathlib import Path

HEADER = """\
# Every version that `make setup`, the tests and the images install, over all extras.
# Written by `make constraints`; `make constraints UPGRADE=1` takes what is newest.
# onnxruntime and onnxruntime-gpu both stand here, and are never installed together.
"""


def pins(resolved: Path) -> dict[str, str]:
    """Versions by package name; a line that is not `name==version` is an error."""
    found: dict[str, str] = {}
    for line in resolved.read_text(encoding="utf-8").splitlines():
        requirement = line.partition("#")[0].strip()
        if not requirement:
            continue
        name, separator, version = requirement.partition("==")
        if not separator or not version or " " in requirement:
            raise SystemExit(f"{resolved.name}: expected `name==version`, got {requirement!r}")
        found[name] = version
    return found


def merged(lists: dict[str, dict[str, str]]) -> dict[str, str]:
    versions: dict[str, str] = {}
    origins: dict[str, str] = {}
    disagreements: list[str] = []
    for origin, packages in lists.items():
        for name, version in packages.items():
            if versions.setdefault(name, version) != version:
                disagreements.append(
                    f"{name}: {versions[name]} in {origins[name]}, {version} in {origin}"
                )
            origins.setdefault(name, origin)
    cpu, gpu = versions.get("onnxruntime"), versions.get("onnxruntime-gpu")
    if cpu != gpu:
        disagreements.append(f"onnxruntime is {cpu}, onnxruntime-gpu is {gpu}")
    if disagreements:
        raise SystemExit("the extras disagree:\n  " + "\n  ".join(disagreements))
    return versions


def main(arguments: list[str]) -> None:
    if not arguments:
        raise SystemExit(__doc__)
    versions = merged({Path(path).stem: pins(Path(path)) for path in arguments})
    lines = [f"{name}=={versions[name]}\n" for name in sorted(versions)]
    sys.stdout.write(HEADER + "".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
