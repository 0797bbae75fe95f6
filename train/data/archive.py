"""Members of a ZIP or tar archive, local or behind a URL."""

import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from train.address import Address, address, without_secrets
from train.data.mirror import Entry, Mirror, Progress
from train.data.remote import RemoteFolder
from train.errors import DataError

PROTOCOLS = ("zip", "tar")


class ArchiveFolder:
    """The files below a folder of an archive: `zip::URL`, `tar://folder::URL`.

    The archive is fetched whole, which stores do far faster than they give its members one by one,
    and its members are unpacked as they are needed, in the order in which they lie there.

    Raises:
        DataError: the URL names no archive.
    """

    def __init__(
        self, url: str, options: Mapping[str, Any], cache: Path, setting: str = "data.root"
    ) -> None:
        self.address = without_secrets(url)
        self._told = f"{setting} {self.address}"
        link, _, inner = url.partition("::")
        self._kind, _, folder = link.partition("://")
        if not inner:
            raise DataError(
                f"{self._told} names no archive; accepted: {self._kind}::FILE or "
                f"{self._kind}://FOLDER::FILE, where FILE is a path or a URL"
            )
        self._folder = folder.strip("/")
        self._inner: Address = address(inner)
        self._remote = (
            RemoteFolder(self._inner, options, cache, setting)
            if isinstance(self._inner, str)
            else None
        )
        self.mirror = Mirror(cache, self.address)

    def names(self) -> Collection[str]:
        return self._listing.keys()

    def has(self, name: str) -> bool:
        return name in self._listing

    def local(self, names: Iterable[str], progress: Progress | None = None) -> Path:
        """Unpack files, and return the folder that they are below.

        Raises:
            DataError: the archive is damaged, or the disk has no room.
        """
        wanted = {name: self._listing[name] for name in names}
        with self.mirror.lock():
            todo = self.mirror.lacking(wanted)
            if todo:
                self.mirror.check_room([wanted[name] for name in todo])
                self._unpack({wanted[name].place: name for name in todo}, wanted, progress)
        return self.mirror.root

    def file(self, name: str) -> Path:
        """Unpack one file.

        Raises:
            DataError: there is none of that name, or as :meth:`local`.
        """
        if not self.has(name):
            raise DataError(f"{self._told}: there is no {name}")
        return self.local([name]) / name

    @cached_property
    def _archive(self) -> Path:
        if self._remote is not None:
            return self._remote.file("")
        if not Path(self._inner).is_file():
            raise DataError(f"{self._told}: there is no {self._inner}")
        return Path(self._inner)

    @cached_property
    def _listing(self) -> dict[str, Entry]:
        prefix = f"{self._folder}/" if self._folder else ""
        with self._reading():
            found = {
                place.removeprefix(prefix): Entry(place, size, version)
                for place, size, version in self._members()
                if place.startswith(prefix)
            }
        if not found:
            where = f"the folder {self._folder} of it" if self._folder else "it"
            raise DataError(f"{self._told} has no files in {where}")
        return found

    def _members(self) -> Iterator[tuple[str, int, str]]:
        """Place, size and version of every regular file with a harmless name."""
        if self._kind == "zip":
            with zipfile.ZipFile(self._archive) as archive:
                for each in archive.infolist():
                    if not each.is_dir() and _is_safe(each.filename):
                        yield each.filename, each.file_size, str(each.CRC)
        else:
            told = self._archive.stat()
            with tarfile.open(self._archive, "r:*") as archive:
                for member in archive:
                    if member.isfile() and _is_safe(member.name):
                        version = f"{told.st_size} {told.st_mtime_ns} {member.mtime}"
                        yield _plain(member.name), member.size, version

    def _unpack(
        self, todo: dict[str, str], wanted: Mapping[str, Entry], progress: Progress | None
    ) -> None:
        total = len(wanted)
        with self._reading():
            for number, (place, stream) in enumerate(
                self._streams(todo.keys()), start=total - len(todo) + 1
            ):
                name = todo[place]
                self.mirror.place(name, wanted[name], stream.read())
                if progress:
                    progress(number, total)

    def _streams(self, places: Collection[str]) -> Iterator[tuple[str, BinaryIO]]:
        if self._kind == "zip":
            with zipfile.ZipFile(self._archive) as archive:
                for each in archive.infolist():
                    if each.filename in places:
                        with archive.open(each) as stream:
                            yield each.filename, stream  # type: ignore[misc]
        else:
            # In its order: of a compressed one, going back means to begin again.
            with tarfile.open(self._archive, "r:*") as archive:
                for member in archive:
                    if member.isfile() and _plain(member.name) in places:
                        content = archive.extractfile(member)
                        if content is not None:
                            yield _plain(member.name), content  # type: ignore[misc]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (
            zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError,
            NotImplementedError, ValueError,
        ) as error:  # fmt: skip
            raise DataError(f"{self._told} is no readable {self._kind} archive: {error}") from error


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _is_safe(name: str) -> bool:
    # What leads out of the folder can be no image of it.
    return not name.startswith("/") and ".." not in name.split("/")
