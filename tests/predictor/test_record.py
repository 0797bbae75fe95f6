import json
import os
from pathlib import Path

import pytest

from predictor.engine.record import (
    Record,
    Row,
    cache_directory,
    machine,
    read_record,
    record_file,
    versions,
    write_record,
)

KEY = {"bundle": "0" * 64, "threads": 2}
ROW = Row(engine="onnxruntime", precision="fp32", device="cpu", milliseconds={1: 2.5, 8: 10.0})
RECORD = Record(key=KEY, chosen=0, rows=[ROW])


def test_what_was_written_is_read_again_under_its_key_only(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    assert read_record(tmp_path, KEY) == RECORD
    assert read_record(tmp_path, KEY | {"threads": 3}) is None
    assert RECORD.sizes == {1, 8}


def test_machines_that_share_a_volume_keep_their_own_choices(tmp_path: Path) -> None:
    other = Record(key=KEY | {"threads": 3}, chosen=0, rows=[ROW])
    for record in (RECORD, other):
        write_record(tmp_path, record)
    assert read_record(tmp_path, KEY) == RECORD
    assert read_record(tmp_path, KEY | {"threads": 3}) == other


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        RECORD.model_dump_json()[:-20],
        json.dumps({**RECORD.model_dump(mode="json"), "key": {}}),
        json.dumps({**RECORD.model_dump(mode="json"), "chosen": 1}),
        json.dumps({**RECORD.model_dump(mode="json"), "rows": []}),
    ],
)
def test_a_damaged_record_or_one_of_another_key_is_none_and_is_replaced(
    tmp_path: Path, content: str
) -> None:
    record_file(tmp_path, KEY).write_text(content)
    assert read_record(tmp_path, KEY) is None
    write_record(tmp_path, RECORD)
    assert read_record(tmp_path, KEY) == RECORD
    assert [file.name for file in tmp_path.iterdir()] == [record_file(tmp_path, KEY).name]


def test_a_write_that_fails_leaves_the_older_record_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(tmp_path, RECORD)

    def fail(self: Path, target: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_record(tmp_path, Record(key=KEY, chosen=0, rows=[ROW, ROW]))
    assert read_record(tmp_path, KEY) == RECORD
    assert len(list(tmp_path.iterdir())) == 1


def test_the_cache_is_in_the_bundle_unless_a_directory_is_named(tmp_path: Path) -> None:
    assert cache_directory(None, tmp_path) == tmp_path / ".cache"
    assert cache_directory(str(tmp_path / "a" / "b"), tmp_path) == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


def test_where_nothing_can_be_written_there_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert cache_directory(None, tmp_path / "file") is None
    assert cache_directory(str(tmp_path / "file" / "x"), tmp_path) is None
    # Even the superuser cannot write here, so this holds whoever runs the test.
    assert cache_directory("/proc/self", tmp_path) is None


def test_a_bundle_that_goes_with_the_process_keeps_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sightline.engine")
    assert cache_directory(None, None) is None
    assert caplog.messages == ["nothing is kept for the next start"]
    assert cache_directory(str(tmp_path), None) == tmp_path


def test_the_machine_is_told_by_its_processor_and_versions_by_what_is_installed() -> None:
    facts = machine()
    assert facts["cpu"]["arch"] == os.uname().machine
    assert json.loads(json.dumps(facts)) == facts
    assert versions(["numpy", "no-such-distribution"]).keys() == {"numpy"}
