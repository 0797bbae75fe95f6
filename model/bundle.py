"""The released artefact: a directory with a manifest, written whole or not at all."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from model.errors import BundleError
from model.manifest import REFERENCE, FileEntry, Manifest, Precision

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Reference:
    """Inputs of the self-test and the answers of the FP32 network.

    Attributes:
        image: uint8 [N, H, W, 3]; averages of several training images, so no patient's picture.
        logits: float32 [N, K].
        probabilities: float32 [N, K].
        cam: float32 [N, K, h, w].
    """

    image: npt.NDArray[np.uint8]
    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    cam: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose manifest has been read. :meth:`verify` checks its files."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> "Bundle":
        """Read the manifest.

        Raises:
            BundleError: the directory or the manifest is missing or wrong; names file and field.
        """
        if not path.is_dir():
            raise BundleError(f"bundle {path} is not a directory")
        return cls(path, _read_manifest(path / MANIFEST))

    def verify(self) -> None:
        """Compare every file with its size and SHA-256.

        Raises:
            BundleError: a file is missing or altered; names it.
        """
        for name, entry in self.manifest.files.items():
            file = self.path / name
            if not file.is_file():
                raise BundleError(f"bundle {self.path}: {name} is missing")
            size_bytes = file.stat().st_size
            if size_bytes != entry.size_bytes:
                raise BundleError(
                    f"bundle {self.path}: {name} has {size_bytes} bytes; "
                    f"the manifest says {entry.size_bytes}"
                )
            digest = sha256(file)
            if digest != entry.sha256:
                raise BundleError(
                    f"bundle {self.path}: {name} has SHA-256 {digest}; "
                    f"the manifest says {entry.sha256}"
                )

    @cached_property
    def digest(self) -> str:
        """The bundle's identity: SHA-256 of its manifest, which holds those of its files."""
        return sha256(self.path / MANIFEST)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        return ("fp32", "int8") if self.manifest.quantisation.shipped else ("fp32",)

    def reference(self) -> Reference:
        """Load the inputs and answers of the self-test."""
        try:
            with np.load(self.path / REFERENCE, allow_pickle=False) as data:
                reference = Reference(**{key: data[key] for key in Reference.__slots__})
        except (OSError, KeyError, ValueError) as error:
            raise BundleError(f"bundle {self.path}: {REFERENCE} is unreadable: {error}") from error
        rule, classes = self.manifest.decode, len(self.manifest.classes)
        expected = (len(reference.image), rule.height_px, rule.width_px, 3)
        if reference.image.shape != expected or reference.logits.shape != (expected[0], classes):
            raise BundleError(
                f"bundle {self.path}: {REFERENCE} has images {reference.image.shape} and logits "
                f"{reference.logits.shape}; the manifest asks for {expected} and {classes} classes"
            )
        return reference


def write_bundle(
    path: Path, fill: Callable[[Path], None], describe: Callable[[dict[str, FileEntry]], Manifest]
) -> Bundle:
    """Write a bundle so that `path` holds all of it or is left as it was.

    Args:
        path: the bundle's directory; an older bundle there is replaced.
        fill: writes the bundle's files into the empty directory that it is given.
        describe: makes the manifest from the checksums of those files.

    Raises:
        BundleError: `path` exists and is no bundle.
    """
    bundle = (path / MANIFEST).is_file()
    if path.exists() and not bundle and (not path.is_dir() or any(path.iterdir())):
        raise BundleError(f"{path} exists and holds no {MANIFEST}; it is not overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        fill(staging)
        manifest = describe(checksums(staging))
        (staging / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        staging.chmod(0o755)
        _replace_directory(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Bundle(path, manifest)


def checksums(directory: Path) -> dict[str, FileEntry]:
    """Size and SHA-256 of every file below a directory, by relative POSIX name."""
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    return {
        file.relative_to(directory).as_posix(): FileEntry(
            sha256=sha256(file), size_bytes=file.stat().st_size
        )
        for file in files
    }


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def validation_message(error: ValidationError, within: str = "") -> str:
    """One line for the first thing wrong: the field, its value, and what is accepted.

    Args:
        error: of pydantic.
        within: key of the section that was validated, where it is not the whole.
    """
    first = error.errors(include_url=False)[0]
    # For a union pydantic puts in the branch that it tried, such as `list[ClassInfo]`.
    parts = [str(part) for part in first["loc"] if "[" not in str(part)]
    field = ".".join([within, *parts] if within else parts) or "(top level)"
    value: Any = first["input"]
    shown = repr(value) if isinstance(value, str | int | float | bool | None) else ""
    more = error.error_count() - 1
    return (
        f"field {field}"
        + (f" is {shown}" if shown else "")
        + f": {first['msg']}"
        + (f" (and {more} more)" if more else "")
    )


def _read_manifest(file: Path) -> Manifest:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BundleError(f"{file} is missing: this directory is not a bundle") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{file} is unreadable: {error}") from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{file}: {validation_message(error)}") from error


def _replace_directory(new: Path, target: Path) -> None:
    # A directory with files in it cannot be replaced in one step: the old one is moved aside first
    # and brought back should the second step fail.
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    old = aside / target.name
    try:
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            with suppress(FileNotFoundError):
                old.rename(target)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
