"""Folders behind a URL of fsspec: listed, and fetched into a mirror as they are needed."""

import os
import posixpath
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from train.data.mirror import Entry, Mirror, Progress
from train.data.sample import listed
from train.data.store import Store
from train.errors import DataError, SourceAwayError

_PARALLEL = 16
# Larger files are fetched in blocks, and a fetch that was broken off goes on after the last one.
BLOCK_BYTES = 16 * 2**20


class RemoteFolder:
    """All files below a URL.

    Args:
        url: of a folder.
        options: of its file system.
        cache: folder of the mirrors.
        setting: the configuration's key, for errors.

    Raises:
        DataError: no package for the protocol is installed.
    """

    def __init__(
        self, url: str, options: Mapping[str, Any], cache: Path, setting: str = "data.root"
    ) -> None:
        self._store = Store(url, options, setting)
        self.address = self._store.address
        self.mirror = Mirror(cache, self.address)

    def names(self) -> Collection[str]:
        return self._listing.keys()

    def has(self, name: str) -> bool:
        return name in self._listing

    def local(self, names: Iterable[str], progress: Progress | None = None) -> Path:
        """Bring files here, and return the folder that they are below.

        Raises:
            DataError: a file is gone, has changed meanwhile, cannot be read, or has no room.
        """
        wanted = {name: self._listing[name] for name in names}
        with self.mirror.lock():
            self._fetch(self._known(wanted), progress)
        return self.mirror.root

    def file(self, name: str) -> Path:
        """Bring one file here without listing all of them; an empty name is the URL itself.

        Raises:
            DataError: as :meth:`local`.
        """
        base = self._store.base
        entry = self._store.entry(posixpath.join(base, name) if name else base)
        name = self._safe(name or posixpath.basename(base.partition("?")[0]) or "file")
        with self.mirror.lock():
            self._fetch({name: entry}, None)
        return self.mirror.root / name

    @cached_property
    def _listing(self) -> dict[str, Entry]:
        found = self._store.entries()
        if not found:
            # Of a web server that refuses or is not there, fsspec makes an empty listing.
            self._store.entry(self._store.base)
            raise DataError(f"{self._store.told} has no files; is it the right folder?")
        if list(found) == [self._store.base]:
            raise DataError(
                f"{self._store.told} is a file; a folder is expected, or zip::URL, tar::URL"
            )
        return {self._relative(place): entry for place, entry in found.items()}

    def _known(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """The same, asked for one by one where the listing (of a web server) has no versions."""
        if all(entry.version for entry in entries.values()):
            return dict(entries)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            known = pool.map(lambda entry: self._store.entry(entry.place), entries.values())
            return dict(zip(entries, known, strict=True))

    def _fetch(self, entries: Mapping[str, Entry], progress: Progress | None) -> None:
        todo = self.mirror.lacking(entries)
        if not todo:
            return
        self.mirror.check_room([entries[name] for name in todo])
        done = len(entries) - len(todo)
        pool = ThreadPoolExecutor(_PARALLEL)
        try:
            for future in as_completed([pool.submit(self._one, n, entries[n]) for n in todo]):
                future.result()
                done += 1
                if progress:
                    progress(done, len(entries))
        finally:
            # What is under way ends and is kept; what has not begun never does.
            pool.shutdown(cancel_futures=True)
        self.mirror.clear_partials()
        self._refuse_changed({name: entries[name] for name in todo})

    def _one(self, name: str, entry: Entry) -> None:
        size = entry.size_bytes
        if size is None or size <= BLOCK_BYTES:
            data = self._store.read(entry.place)
            self._check_size(name, entry, len(data))
            self.mirror.place(name, entry, data)
            return
        partial = self.mirror.partial(name, entry)
        with self.mirror.room(), partial.open("ab") as stream:
            start = stream.tell()
            while start < size:
                end = min(start + BLOCK_BYTES, size)
                block = self._store.read(entry.place, start, end)
                if len(block) == size:  # of a server that cannot give a part
                    os.truncate(stream.fileno(), 0)
                    start = 0
                elif len(block) != end - start:
                    partial.unlink()
                    self._check_size(name, entry, start + len(block))
                stream.write(block)
                stream.flush()
                start += len(block)
        self.mirror.adopt(name, entry, partial)

    def _check_size(self, name: str, entry: Entry, found: int) -> None:
        if entry.size_bytes is not None and found != entry.size_bytes:
            raise self._changed([f"{name}: {entry.size_bytes:,} bytes are listed, {found:,} came"])

    def _refuse_changed(self, fetched: Mapping[str, Entry]) -> None:
        """What has changed since it was listed may have come in either version, or in parts."""
        if len(fetched) > 1:
            now = self._store.entries()
            found = {n: now.get(e.place, Entry(e.place, None, "gone")) for n, e in fetched.items()}
            found = self._known(found)
        else:
            found = {name: self._store.entry(entry.place) for name, entry in fetched.items()}
        changed = [name for name, entry in fetched.items() if found[name] != entry]
        for name in changed:
            self.mirror.forget(name)
        if changed:
            raise self._changed(changed)

    def _changed(self, names: list[str]) -> SourceAwayError:
        return SourceAwayError(
            f"{self._store.told}: {len(names)} files have changed while they were fetched:"
            f"{listed(names)}\nrun the same command again when nobody writes there"
        )

    def _relative(self, place: str) -> str:
        name = place.removeprefix(self._store.base).lstrip("/")
        if self._store.protocol in ("http", "https"):
            name = unquote(name.partition("?")[0])
        return self._safe(name)

    def _safe(self, name: str) -> str:
        """The name, unless a file of that name would lie outside of its folder."""
        if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise DataError(f"{self._store.told}: the name {name!r} would lead out of the folder")
        return name
