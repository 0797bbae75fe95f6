import errno
import json
import resource
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from model.bundle import Bundle
from predictor import records
from predictor.answer import Answer
from predictor.errors import StartError
from predictor.records import Records
from tests.predictor.bundles import png
from tests.predictor.servers import RunningServer, sample

REQUEST = {"request_id": "r-1", "model": "chest", "version": "7"}


def answer(sha256: str = "ab" * 32) -> Answer:
    return Answer("nodule", 0.75, "High", np.array([0.25, 0.75], np.float32), sha256=sha256)


@pytest.fixture
def dropped() -> list[int]:
    return []


@pytest.fixture
def make(tmp_path: Path, dropped: list[int]) -> Callable[..., Records]:
    def make(max_bytes: int = 1 << 20, files: int = 3, file: Path | None = None) -> Records:
        return Records(file or tmp_path / "log.jsonl", max_bytes, files, dropped.append)

    return make


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_an_image_is_a_line_with_hash_and_answer(
    make: Callable[..., Records], tmp_path: Path
) -> None:
    log = make()
    log.put(REQUEST, [answer("00" * 32), answer("11" * 32)])
    log.close()
    first, second = lines(tmp_path / "log.jsonl")
    assert str(first.pop("time")).endswith("Z")
    assert first == {
        "request_id": "r-1", "model": "chest", "version": "7", "image": 0, "sha256": "00" * 32,
        "label": "nodule", "confidence": 0.75, "risk": "High", "probabilities": [0.25, 0.75],
    }  # fmt: skip
    assert (second["image"], second["sha256"]) == (1, "11" * 32)


def test_files_are_bounded_in_size_and_number_and_lines_stay_whole(
    make: Callable[..., Records], tmp_path: Path
) -> None:
    for files in (3, 1):
        log = make(max_bytes=4096, files=files)
        for number in range(100):
            log.put({"request_id": str(number)}, [answer()])
        log.close()
        found = sorted(tmp_path.glob("log.jsonl*"))
        assert len(found) == 3
        assert all(file.stat().st_size <= 4096 for file in found)
        newest = lines(tmp_path / "log.jsonl")
        assert newest[-1]["request_id"] == "99"
        if files == 3:
            kept = [line for file in reversed(found) for line in lines(file)]
            numbers = [int(str(line["request_id"])) for line in kept]
            assert numbers == list(range(100 - len(kept), 100)), "the newest, in order"


def test_a_restart_goes_on_with_the_file(make: Callable[..., Records], tmp_path: Path) -> None:
    for _ in range(2):
        log = make()
        log.put(REQUEST, [answer()])
        log.close()
    assert len(lines(tmp_path / "log.jsonl")) == 2


def test_a_full_disk_drops_lines_whole_and_the_log_goes_on_when_there_is_room(
    make: Callable[..., Records], tmp_path: Path, dropped: list[int]
) -> None:
    log = make()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    log.put(REQUEST, [answer()])
    wait(lambda: (tmp_path / "log.jsonl").exists() and lines(tmp_path / "log.jsonl") != [])
    size = (tmp_path / "log.jsonl").stat().st_size
    try:
        # The kernel cuts the next line in its middle, as a disk does that has a few bytes left.
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
        log.put(REQUEST, [answer(), answer()])
        wait(lambda: sum(dropped) == 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.put(REQUEST, [answer("22" * 32)])
    log.close()
    assert [line["sha256"] for line in lines(tmp_path / "log.jsonl")] == ["ab" * 32, "22" * 32]
    assert sum(dropped) == 2


def test_a_disk_that_hangs_holds_up_nobody(
    make: Callable[..., Records],
    tmp_path: Path,
    dropped: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hang = threading.Event()
    write = Records._write

    def hanging(self: Records, line: bytes) -> None:
        hang.wait()
        write(self, line)

    monkeypatch.setattr(Records, "_write", hanging)
    monkeypatch.setattr(records, "WAITING", 5)
    log = make()
    for _ in range(50):
        log.put(REQUEST, [answer()])
    assert sum(dropped) in (44, 45), "5 wait, and one may be at the disk already"
    hang.set()
    log.close()
    assert len(lines(tmp_path / "log.jsonl")) == 50 - sum(dropped)


def test_a_file_that_cannot_be_opened_is_named(
    make: Callable[..., Records], tmp_path: Path
) -> None:
    with pytest.raises(StartError, match=r"--request_log .*absent/log cannot be opened: No such"):
        make(file=tmp_path / "absent" / "log")


def test_what_fails_at_every_write_is_counted_and_never_raised(
    make: Callable[..., Records], dropped: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    log = make(file=Path("/dev/full"))
    log.put(REQUEST, [answer()] * 7)
    log.close()
    assert sum(dropped) == 7
    (record,) = caplog.records
    assert record.data["errno"] == errno.ENOSPC  # type: ignore[attr-defined]


def wait(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it did not come about")


def test_a_server_logs_every_image_by_its_hash_and_serves_on_when_the_disk_is_full(
    bundle: Bundle, tmp_path: Path, pictures: npt.NDArray[np.uint8]
) -> None:
    arguments = ["--bundle", str(bundle.path), "--engine", "onnxruntime", "--request_log"]
    path, secret = "/v1/models/tiny:explain", "patient-4711"
    files = [png(each) for each in pictures[:3]]
    file = tmp_path / "requests.jsonl"
    with RunningServer([*arguments, str(file)]) as server:
        server.wait_until_ready()
        form = [("f", (f"{secret}.png", each)) for each in files]
        headers = {"x-request-id": "r-9"}
        answer = httpx.post(server.url + path, files=form, headers=headers).json()
        httpx.post(server.url + path, content=b"x", headers={"content-type": "image/png"})
        server.terminate()
        assert server.wait() == 0
    written = lines(file)
    assert [line["sha256"] for line in written] == [sha256(each).hexdigest() for each in files]
    for line, prediction in zip(written, answer["predictions"], strict=True):
        assert line["request_id"] == "r-9"
        assert line["label"] == prediction["label"]
        assert line["probabilities"] == pytest.approx(list(prediction["probabilities"].values()))
        assert set(line) == {
            "time", "request_id", "model", "version", "image", "sha256", "label", "confidence",
            "risk", "probabilities",
        }  # fmt: skip
    assert secret not in file.read_text()
    with RunningServer([*arguments, "/dev/full"]) as server:
        server.wait_until_ready()
        for _ in range(3):
            assert httpx.post(server.url + path, files=form).status_code == 200
        server.wait_for_log("request log cannot be written")
        for _ in range(500):
            if sample(server, "sightline_request_log_dropped_total") == 9.0:
                break
            time.sleep(0.01)
        assert sample(server, "sightline_request_log_dropped_total") == 9.0
