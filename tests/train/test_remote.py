"""Data behind URLs: real s3fs and fsspec against real servers on this machine.

The object store is moto's: it keeps and lists objects and gives parts of them as S3 does, but asks
nobody for credentials; what it cannot refuse is refused for it by `ObjectStore.fault`.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import s3fs
import yaml

from train.__main__ import main
from train.data import Dataset, load_dataset, open_folder, remote
from train.data.mirror import Mirror
from train.data.store import Store
from train.data_config import DataConfig
from train.errors import DataError

from .conftest import CLASSES, shapes_tree
from .stores import BUCKET, ObjectStore, web_server

IMAGES = 72
FETCH = """
import os, signal, sys
from pathlib import Path
from train.data import remote, store

url, cache, block, kind, count = sys.argv[1:]
remote.BLOCK_BYTES = int(block)
left = iter(range(int(count) - 1, -1, -1))
def die(*_):
    if next(left, None) == 0:
        os.kill(os.getpid(), signal.SIGKILL)
folder = remote.RemoteFolder(url, {}, Path(cache))
if kind == "file":
    folder.local(folder.names(), die)
read = store.Store.read
store.Store.read = lambda *arguments: (die(), read(*arguments))[1]
folder.local(folder.names())
"""


@pytest.fixture(scope="module")
def servers(shapes: Path) -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        for name in files_of(shapes):
            store.put(f"shapes/{name}", (shapes / name).read_bytes())
        yield store


def files_of(root: Path) -> list[str]:
    return [file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()]


@pytest.fixture
def store(
    servers: ObjectStore, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStore]:
    """The object store, with the shapes below `shapes/` and nothing else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": servers.url,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "hidden-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    servers.requests.clear()
    yield servers
    servers.fault = lambda request: None
    s3fs.S3FileSystem.clear_instance_cache()
    tags = servers.tags()
    for name in files_of(shapes):
        data = (shapes / name).read_bytes()
        if tags.pop(f"shapes/{name}", None) != hashlib.md5(data).hexdigest():
            servers.put(f"shapes/{name}", data)
    for key in tags:
        servers.client.delete_object(Bucket=BUCKET, Key=key)


def config(root: str | Path, cache: Path, **changes: Any) -> DataConfig:
    tree = {
        "root": str(root),
        "cache": cache,
        "table": "labels.csv",
        "classes": CLASSES,
        "decode": {"width_px": 32, "height_px": 32},
    }
    return DataConfig.model_validate(tree | changes)


def load(root: str | Path, tmp_path: Path, **changes: Any) -> Dataset:
    return load_dataset(config(root, tmp_path / "cache", **changes), tmp_path / "decoded")


@pytest.fixture
def local(shapes: Path, tmp_path: Path) -> Dataset:
    return load(shapes, tmp_path)


@pytest.mark.parametrize("changes", [{}, {"table": None}])
def test_a_bucket_gives_the_same_data_as_the_folder_it_was_filled_from(
    shapes: Path, store: ObjectStore, tmp_path: Path, changes: dict[str, Any]
) -> None:
    expected = load(shapes, tmp_path, **changes)
    found = load(f"s3://{BUCKET}/shapes", tmp_path, **changes)
    assert found.samples == expected.samples
    assert found.fingerprint == expected.fingerprint
    assert np.array_equal(found.images, expected.images)


def test_only_what_is_listed_is_fetched_and_that_once(
    shapes: Path, store: ObjectStore, tmp_path: Path
) -> None:
    store.put("shapes/thesis.pdf", b"not asked for")
    told: list[tuple[int, int]] = []
    data = load_dataset(
        config(f"s3://{BUCKET}/shapes", tmp_path / "cache"),
        tmp_path / "decoded",
        fetching=lambda done, total: told.append((done, total)),
    )
    masks = [sample.mask for sample in data.samples if sample.mask]
    wanted = ["labels.csv", *(s.file for s in data.samples), *masks]
    assert sorted(store.fetched()) == sorted(f"shapes/{name}" for name in wanted)
    assert told[-1] == (IMAGES + len(masks), IMAGES + len(masks))
    store.requests.clear()
    again = load(f"s3://{BUCKET}/shapes", tmp_path)
    assert store.fetched() == []
    assert again.fingerprint == data.fingerprint


def test_a_wrong_label_is_told_before_an_image_is_fetched(
    shapes: Path, store: ObjectStore, tmp_path: Path
) -> None:
    text = (shapes / "labels.csv").read_text()
    store.put("shapes/labels.csv", text.replace(",disc,", ",disk,").encode())
    with pytest.raises(DataError, match=r"label is 'disk'; accepted: plain, disc, bars"):
        load(f"s3://{BUCKET}/shapes", tmp_path)
    assert store.fetched() == ["shapes/labels.csv"]


def test_an_object_that_is_new_replaces_the_old_one(
    shapes: Path, store: ObjectStore, tmp_path: Path
) -> None:
    before = load(f"s3://{BUCKET}/shapes", tmp_path)
    store.put("shapes/disc/00-1.png", (shapes / "disc/01-1.png").read_bytes())
    store.requests.clear()
    after = load(f"s3://{BUCKET}/shapes", tmp_path)
    assert store.fetched() == ["shapes/disc/00-1.png"]
    assert after.fingerprint != before.fingerprint


def test_a_copy_that_was_cut_short_is_fetched_again(
    shapes: Path, store: ObjectStore, tmp_path: Path
) -> None:
    before = load(f"s3://{BUCKET}/shapes", tmp_path)
    (before.root / "disc/00-1.png").write_bytes(b"")
    assert load(f"s3://{BUCKET}/shapes", tmp_path).fingerprint == before.fingerprint


def fetch_and_die(url: str, cache: Path, kind: str, count: int, block: int) -> int:
    """Fetch all in a process that ends itself after so many files, or before such a read."""
    return subprocess.run(
        [sys.executable, "-c", FETCH, url, str(cache), str(block), kind, str(count)],
        check=False,
        cwd=Path(__file__).parents[2],
    ).returncode


def test_a_fetch_that_was_killed_goes_on_with_what_is_there(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        store.put(f"many/{number:02d}", bytes([number]) * 1000)
    url = f"s3://{BUCKET}/many"
    assert fetch_and_die(url, tmp_path, "file", 20, 2**20) == -9
    folder = remote.RemoteFolder(url, {}, tmp_path)
    here = {f.name for f in Mirror(tmp_path, url).root.iterdir() if not f.name.startswith(".")}
    assert 20 <= len(here) < 60
    # The server may still be answering the process that is gone, so reads are counted on this side.
    reads: list[str] = []
    read = Store.read

    def counted(self: Store, place: str, *part: int | None) -> bytes:
        reads.append(place)
        return read(self, place, *part)

    monkeypatch.setattr(Store, "read", counted)
    root = folder.local(folder.names())
    # One that was whole and not yet noted as such may come again, for each of the 16 at work.
    assert 60 - len(here) <= len(reads) == len(set(reads)) <= 40
    for number in range(60):
        assert (root / f"{number:02d}").read_bytes() == bytes([number]) * 1000


def test_processes_that_come_together_fetch_once(store: ObjectStore, tmp_path: Path) -> None:
    for number in range(30):
        store.put(f"many/{number:02d}", b"some")
    store.requests.clear()
    command = [
        sys.executable,
        "-c",
        FETCH,
        f"s3://{BUCKET}/many",
        str(tmp_path),
        "1000",
        "file",
        "99",
    ]
    processes = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert sorted(store.fetched()) == [f"many/{number:02d}" for number in range(30)]


def test_a_large_file_goes_on_after_its_last_block(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = 100_000
    data = np.random.default_rng(0).bytes(5 * block + 17)
    store.put("large/archive", data)
    url = f"s3://{BUCKET}/large"
    assert fetch_and_die(url, tmp_path, "read", 4, block) == -9
    assert [r.range for r in store.requests if r.range][-1].startswith(f"bytes={2 * block}-")
    store.requests.clear()
    monkeypatch.setattr(remote, "BLOCK_BYTES", block)
    folder = remote.RemoteFolder(url, {}, tmp_path)
    assert (folder.local(["archive"]) / "archive").read_bytes() == data
    ranges = [r.range for r in store.requests if r.range]
    assert [each.split("-")[0] for each in ranges] == [f"bytes={n * block}" for n in (3, 4, 5)]
    assert not list(tmp_path.rglob("*.part"))


def test_a_passing_fault_is_tried_again_and_a_lasting_one_is_told(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.data.store._FIRST_PAUSE_S", 0.01)
    store.client.put_object(Bucket=BUCKET, Key="some/a", Body=b"a", ACL="public-read")
    file = remote.RemoteFolder(f"{store.url}/{BUCKET}/some/a", {}, tmp_path)
    faults = iter([500, 503, 429])
    store.fault = lambda request: next(faults, None)
    assert file.file("").read_bytes() == b"a"
    store.requests.clear()
    store.fault = lambda request: 503
    with pytest.raises(DataError, match=r"some/a cannot be read after 4 tries: 503.* is kept, and"):
        file.file("")
    # Each try asks by HEAD and then, as some servers know no HEAD, by GET.
    assert [r.method for r in store.requests] == ["HEAD", "GET"] * 4
    store.requests.clear()
    store.fault = lambda request: 400
    with pytest.raises(DataError, match=r"some/a cannot be read: 400"):
        file.file("")
    assert len(store.requests) == 2


def test_objects_that_change_while_they_are_fetched_stop_the_run(
    store: ObjectStore, tmp_path: Path
) -> None:
    for name in "abc":
        store.put(f"some/{name}", b"before")
    folder = remote.RemoteFolder(f"s3://{BUCKET}/some", {}, tmp_path)
    folder.names()
    store.put("some/b", b"after!")
    store.put("some/c", b"longer than before")
    with pytest.raises(DataError, match=r"files have changed while they were fetched:\n  "):
        folder.local(["a", "b", "c"])
    store.put("some/b", b"second")
    folder = remote.RemoteFolder(f"s3://{BUCKET}/some", {}, tmp_path)
    folder.names()
    store.put("some/b", b"third.")
    with pytest.raises(DataError, match=r"1 files have changed .*:\n  b\n"):
        folder.local(["a", "b", "c"])
    again = remote.RemoteFolder(f"s3://{BUCKET}/some", {}, tmp_path)
    assert (again.local(["a", "b", "c"]) / "b").read_bytes() == b"third."


def test_what_is_not_there_is_named(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"data\.root s3://images/nowhere: there is no images/nowhere"
    ):
        load(f"s3://{BUCKET}/nowhere", tmp_path, table=None)
    with pytest.raises(DataError, match=r"data\.root s3://no-such-bucket/x: there is no "):
        load("s3://no-such-bucket/x", tmp_path, table=None)
    with pytest.raises(DataError, match=r"there is no images/nowhere/labels\.csv"):
        load(f"s3://{BUCKET}/nowhere", tmp_path)
    store.put("one.png", b"x")
    with pytest.raises(DataError, match=r"one\.png is a file; a folder is expected"):
        load(f"s3://{BUCKET}/one.png", tmp_path, table=None)


def test_a_web_server_that_is_gone_or_refuses_is_no_empty_folder(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.data.store._FIRST_PAUSE_S", 0.01)
    with web_server(shapes, user="reader:hidden") as url:
        with pytest.raises(DataError, match=r"access to http://127.* is refused"):
            load(f"{url}/plain", tmp_path, table=None)
        with pytest.raises(DataError, match=r"there is no http://127.*nowhere"):
            load(f"{url.replace('//', '//reader:hidden@')}/nowhere", tmp_path, table=None)
    with pytest.raises(DataError, match=r"cannot be read after 4 tries: .*onnect"):
        load(url, tmp_path, table=None)


def test_a_file_of_the_table_that_the_bucket_lacks_is_listed(
    shapes: Path, store: ObjectStore, tmp_path: Path
) -> None:
    store.client.delete_object(Bucket=BUCKET, Key="shapes/disc/00-1.png")
    with pytest.raises(DataError, match=r"1 image files are missing:\n  disc/00-1\.png"):
        load(f"s3://{BUCKET}/shapes", tmp_path)
    assert store.fetched() == ["shapes/labels.csv"]


def test_refused_and_missing_credentials_are_told_with_where_they_come_from(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.fault = lambda request: 403
    told = r"access to .* is refused, or .* missing \(.*AWS_ACCESS_KEY_ID .*AWS_PROFILE"
    with pytest.raises(DataError, match=told) as caught:
        load(f"s3://{BUCKET}/shapes", tmp_path)
    assert "hidden" not in str(caught.value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    # Else it asks the network for the role of the machine, and the home for a profile.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match=told):
        load(f"s3://{BUCKET}/shapes", tmp_path)


@pytest.mark.parametrize(("url", "package"), [("s3://a/b", "s3fs"), ("gs://a/b", "gcsfs")])
def test_a_package_that_is_missing_is_named_with_its_extra(
    url: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it were not installed.
    monkeypatch.setitem(sys.modules, package, None)
    loaded = sys.modules["fsspec.registry"]._registry
    monkeypatch.delitem(loaded, url.partition(":")[0], raising=False)
    with pytest.raises(DataError, match=rf"needs {package}: pip install 'sightline\[remote\]'"):
        open_folder(config(url, tmp_path))


def test_an_unknown_protocol_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root s4://a/b: .*s4.*; accepted: s3, gs, http"):
        open_folder(config("s4://a/b", tmp_path))


def test_room_is_looked_for_before_anything_is_fetched(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("some/a", b"a" * 5000)
    usage = shutil.disk_usage(tmp_path)._replace(free=4000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    told = r"no room .*: 5,000 bytes are to be fetched and 4,000 are free; .*set data\.cache"
    folder = remote.RemoteFolder(f"s3://{BUCKET}/some", {}, tmp_path)
    with pytest.raises(DataError, match=told):
        folder.local(folder.names())
    assert store.fetched() == []


def test_a_cache_that_cannot_be_written_is_named(store: ObjectStore, tmp_path: Path) -> None:
    store.put("some/a", b"a")
    (tmp_path / "file").write_text("in the way")
    folder = remote.RemoteFolder(f"s3://{BUCKET}/some", {}, tmp_path / "file" / "cache")
    with pytest.raises(DataError, match=r"data\.cache: .*cache cannot be written: Not a directory"):
        folder.local(folder.names())


def test_a_name_that_leads_out_of_the_folder_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    store.put("some/../../evil", b"a")
    store.put("some/x/../../evil", b"a")
    with pytest.raises(DataError, match=r"'.*\.\./.*evil' would lead out of the folder"):
        remote.RemoteFolder(f"s3://{BUCKET}/some", {}, tmp_path / "cache").names()


def test_a_web_server_gives_the_same_data(
    shapes: Path, tmp_path: Path, local: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Smaller than the images: this server gives the whole where a part is asked for.
    monkeypatch.setattr(remote, "BLOCK_BYTES", 1000)
    with web_server(shapes.parent) as url:
        assert load(f"{url}/shapes", tmp_path, table=None).samples != []
        assert load(f"{url}/shapes/", tmp_path).fingerprint == local.fingerprint


def test_the_table_may_have_a_url_of_its_own(shapes: Path, tmp_path: Path, local: Dataset) -> None:
    with web_server(shapes) as url:
        data = load(shapes, tmp_path, table=f"{url}/labels.csv?version=2")
    assert data.fingerprint == local.fingerprint


def test_memory_and_file_urls_are_folders_too(shapes: Path, tmp_path: Path, local: Dataset) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(f"{shapes}/", "/shapes/", recursive=True)
    try:
        assert load("memory://shapes", tmp_path).fingerprint == local.fingerprint
    finally:
        memory.rm("/shapes", recursive=True)
    assert load(f"file://{shapes}", tmp_path).root == shapes


def pack(root: Path, file: Path) -> Path:
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("../evil", "out")
            for each in sorted(root.rglob("*")):
                archive.write(each, Path("data", each.relative_to(root)))
    else:
        with tarfile.open(file, "w:gz") as archive:
            evil = tarfile.TarInfo("../evil")
            archive.addfile(evil, io.BytesIO(b""))
            archive.add(root, "./data")
    return file


@pytest.mark.parametrize("name", ["shapes.zip", "shapes.tar.gz"])
def test_an_archive_is_a_folder_too(
    shapes: Path, store: ObjectStore, tmp_path: Path, local: Dataset, name: str
) -> None:
    file = pack(shapes, tmp_path / name)
    store.put(name, file.read_bytes())
    kind = "zip" if name.endswith("zip") else "tar"
    for url in (f"{kind}://data::s3://{BUCKET}/{name}", f"{kind}://data::{file}"):
        assert load(url, tmp_path).fingerprint == local.fingerprint
    assert store.fetched() == [name]


def test_what_is_no_archive_is_named(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "some.zip").write_bytes(b"PK no archive")
    for url, told in (
        (f"zip::{tmp_path}/some.zip", r"is no readable zip archive"),
        (f"tar::{tmp_path}/some.zip", r"is no readable tar archive"),
        (f"zip::{tmp_path}/nowhere.zip", r"there is no .*nowhere\.zip"),
        ("zip://data", r"names no archive; accepted: zip::FILE or zip://FOLDER::FILE"),
        (f"zip://else::{pack(shapes, tmp_path / 'a.zip')}", r"no files in the folder else of it"),
    ):
        with pytest.raises(DataError, match=told):
            load(url, tmp_path, table=None)


def test_fit_records_the_url_without_what_opens_it(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = shapes_tree(shapes, tmp_path / "run")
    tree["loop"]["epochs"] = 1
    file = tmp_path / "config.yaml"
    with web_server(shapes, user="reader:open-sesame") as url:
        opened = url.replace("//", "//reader:open-sesame@")
        tree["data"] |= {"root": opened, "cache": str(tmp_path / "cache")}
        tree["data"]["table"] = f"{opened}/labels.csv?X-Amz-Signature=open-sesame"
        file.write_text(yaml.safe_dump(tree))
        assert main(["fit", "--config", str(file)]) == 0
        written = json.loads((tmp_path / "run" / "config.json").read_text())
        assert written["data"]["root"] == url
        assert written["data"]["table"] == f"{url}/labels.csv"
        run = ["--run", str(tmp_path / "run")]
        assert main(["evaluate", *run]) == 2
        assert "access to" in capsys.readouterr().err
        assert (
            main(["evaluate", *run, f"data.root={opened}", f"data.table={opened}/labels.csv"]) == 0
        )
    shutil.rmtree(tmp_path / "cache")
    file.unlink()
    for each in tmp_path.rglob("*"):
        assert not each.is_file() or b"open-sesame" not in each.read_bytes()


def test_a_secret_among_the_options_is_refused_unread(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = shapes_tree(shapes, tmp_path / "run")
    tree["data"]["storage_options"] = {"client_kwargs": {"aws_secret_access_key": "hidden"}}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(tree))
    assert main(["fit", "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert "data.storage_options.client_kwargs.aws_secret_access_key is a secret" in said
    assert "hidden" not in said
