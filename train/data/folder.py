"""Where the files of a data set are: on this machine, or behind a URL."""

import os
from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path
from typing import Protocol

from train.address import Address, without_secrets
from train.data.archive import PROTOCOLS, ArchiveFolder
from train.data.mirror import Progress
from train.data.remote import RemoteFolder
from train.data_config import DataConfig
from train.errors import DataError


class Folder(Protocol):
    """Files by POSIX paths relative to the folder."""

    address: str

    def names(self) -> Collection[str]:
        """Every file, in sub-folders too."""
        ...

    def has(self, name: str) -> bool: ...

    def local(self, names: Iterable[str], progress: Progress | None = None) -> Path:
        """A folder on this machine that has these files in their current version."""
        ...

    def file(self, name: str) -> Path:
        """One file, on this machine."""
        ...


class LocalFolder:
    """A folder on this machine.

    Raises:
        DataError: it does not exist.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError(f"data.root is {root}; it must be an existing folder")
        self.address, self._root = str(root), root

    def names(self) -> Collection[str]:
        return self._names

    def has(self, name: str) -> bool:
        return (self._root / name).is_file()

    def local(self, names: Iterable[str], progress: Progress | None = None) -> Path:
        return self._root

    def file(self, name: str) -> Path:
        return self._root / name

    @cached_property
    def _names(self) -> list[str]:
        names: list[str] = []
        seen = set()
        for folder, inner, files in os.walk(self._root, followlinks=True):
            # A link to a folder above would be walked for ever.
            real = os.path.realpath(folder)
            if real in seen:
                inner.clear()
                continue
            seen.add(real)
            base = Path(folder).relative_to(self._root)
            names += [(base / file).as_posix() for file in files]
        return sorted(names)


def open_folder(config: DataConfig) -> Folder:
    """The folder of a data set; nothing is listed or fetched yet.

    Raises:
        DataError: it does not exist, or its protocol cannot be spoken here.
    """
    return _opened(config.root, config)


def open_file(config: DataConfig, file: Address, folder: Folder, setting: str) -> Path:
    """A table or a list of classes, on this machine: below the folder, or by a URL of its own.

    Raises:
        DataError: it cannot be fetched.
    """
    if isinstance(file, Path):
        # An absolute path is one of this machine, wherever the images are.
        return file if file.is_absolute() else folder.file(file.as_posix())
    if _is_archive(file):
        bare = without_secrets(file)
        raise DataError(f"{setting} is {bare}; a file is expected, not an archive")
    return RemoteFolder(file, config.storage_options, config.cache_folder, setting).file("")


def _opened(root: Address, config: DataConfig) -> Folder:
    if isinstance(root, Path):
        return LocalFolder(root)
    kind = ArchiveFolder if _is_archive(root) else RemoteFolder
    return kind(root, config.storage_options, config.cache_folder)


def _is_archive(url: str) -> bool:
    return url.split("::", maxsplit=1)[0].partition("://")[0] in PROTOCOLS
