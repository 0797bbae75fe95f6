import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from model.bundle import Bundle
from predictor.batch.__main__ import EXIT_FAILED, EXIT_SOME_FAILED, EXIT_WRONG, build_parser, main
from predictor.batch.inputs import find
from predictor.batch.progress import Progress
from predictor.batch.results import Results, check_format
from predictor.batcher import Batcher
from predictor.engine import ENGINES
from predictor.errors import EngineError, StartError
from predictor.metrics import Metrics
from tests.predictor.bundles import jpeg, phantoms, png
from tests.predictor.servers import PATIENCE_S, ROOT

COLUMNS = ["file", "label", "error"]


def start(bundle: Bundle, source: str | Path, output: Path, *flags: str) -> subprocess.Popen[str]:
    arguments = [str(source), "--output", str(output), "--bundle", str(bundle.path)]
    return subprocess.Popen(
        [sys.executable, "-m", "predictor.batch", *arguments, "--engine", "onnxruntime", *flags],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(
    bundle: Bundle, source: str | Path, output: Path, *flags: str, status: int = 0
) -> tuple[list[dict[str, str]], str]:
    process = start(bundle, source, output, *flags)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status, said
    return (table(output) if output.exists() and output.suffix == ".csv" else []), said


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight images in two folders, one of them broken, and a file that is no image."""
    images = tmp_path / "images"
    (images / "b").mkdir(parents=True)
    for number, pixels in enumerate(phantoms(7)):
        where = images if number < 4 else images / "b"
        (where / f"{number}.png").write_bytes(png(pixels))
    (images / "b" / "3.JPG").write_bytes(jpeg(phantoms(1)[0])[:300] + b"Jane Doe")
    (images / "notes.txt").write_text("no image")
    return images


def test_a_folder_becomes_a_table_in_its_order(
    bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    rows, said = run(bundle, folder, tmp_path / "out.csv", status=EXIT_SOME_FAILED)
    assert [row["file"] for row in rows] == [str(file) for file in find(str(folder))]
    good = [row for row in rows if not row["error"]]
    bad = [row for row in rows if row["error"]]
    engine = ENGINES["onnxruntime"].open(bundle.path / "model.onnx", "fp32", 1)
    expected = engine.run(phantoms(7), want_cam=False).probabilities
    keys = bundle.manifest.class_keys
    for row in good:
        probabilities = expected[int(Path(row["file"]).stem)]
        assert row["label"] == keys[int(probabilities.argmax())]
        found = [float(row[f"p_{key}"]) for key in keys]
        assert found == pytest.approx(list(probabilities), abs=1e-4)
        assert float(row["confidence"]) == pytest.approx(float(probabilities.max()), abs=1e-4)
    assert [(Path(row["file"]).name, row["error"], row["label"]) for row in bad] == [
        ("3.JPG", "corrupt", "")
    ]
    assert "8 of 8 images, 1 failed" in said
    assert "Jane" not in said
    assert '"event":"files skipped for their suffix","skipped":1,' in said
    assert "notes" not in said
    assert sorted(file.name for file in tmp_path.iterdir()) == ["images", "out.csv"]


def test_a_csv_with_overlays_becomes_parquet(bundle: Bundle, folder: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    names = ["0.png", "b/4.png", "missing.png", "0.png"]
    (folder / "list.csv").write_text("id,file\n" + "".join(f"1,{name}\n" for name in names))
    output, overlays = tmp_path / "out.parquet", tmp_path / "overlays"
    flags = ("--overlays", str(overlays))
    run(bundle, folder / "list.csv", output, *flags, status=EXIT_SOME_FAILED)
    rows = parquet.read_table(output).to_pylist()
    assert [Path(row["file"]).name for row in rows] == ["0.png", "4.png", "missing.png"]
    assert [row["error"] for row in rows] == [None, None, "unreadable"]
    assert rows[2]["confidence"] is None
    assert {row["overlay"] for row in rows[:2]} == {file.name for file in overlays.iterdir()}
    for file in overlays.iterdir():
        with Image.open(file) as picture:
            assert picture.size == (64, 64)


def test_a_name_that_is_no_utf_8_is_a_row_like_any_other(
    bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    output, overlays = tmp_path / "out.csv", tmp_path / "overlays"
    name = folder / os.fsdecode(b"M\xfcller.png")
    name.write_bytes(png(phantoms(1)[0]))
    rows, _ = run(bundle, folder, output, "--overlays", str(overlays), status=EXIT_SOME_FAILED)
    row = next(row for row in rows if Path(row["file"]).name == "M\\xfcller.png")
    assert row["label"]
    assert not row["error"]
    assert (overlays / row["overlay"]).is_file()


def with_a_gap(tmp_path: Path, images: int, gap: int) -> tuple[Path, Path]:
    """A list of images, one of which is a pipe: whoever reads it waits."""
    for number, pixels in enumerate(phantoms(8)):
        (tmp_path / f"{number}.png").write_bytes(png(pixels))
    for number in range(8, images):
        os.link(tmp_path / f"{number % 8}.png", tmp_path / f"{number}.png")
    pipe = tmp_path / f"{gap}.png"
    pipe.unlink()
    os.mkfifo(pipe)
    source = tmp_path / "list.csv"
    source.write_text("file\n" + "".join(f"{number}.png\n" for number in range(images)))
    return source, pipe


def test_a_run_that_is_killed_goes_on_where_it_was(bundle: Bundle, tmp_path: Path) -> None:
    images, gap = 600, 400
    source, pipe = with_a_gap(tmp_path, images, gap)
    output, parts = tmp_path / "out.csv", tmp_path / ".out.csv.parts"
    process = start(bundle, source, output)
    until(lambda: any(parts.glob("*.jsonl")), process)
    process.kill()
    process.wait(PATIENCE_S)
    assert process.stderr is not None
    process.stderr.close()
    assert not output.exists()
    kept = b"".join(part.read_bytes() for part in sorted(parts.glob("*.jsonl"))).splitlines()
    assert 0 < len(kept) <= gap
    # As if it had been killed in the middle of a write.
    (parts / ".00000009.jsonl.partial").write_bytes(kept[0][:20])
    # What is kept is not done again: were it read once more, it would fail.
    for line in kept:
        Path(json.loads(line)["file"]).unlink()
    pipe.unlink()
    pipe.write_bytes(png(phantoms(1)[0]))
    rows, _ = run(bundle, source, output)
    assert [row["file"] for row in rows] == [str(tmp_path / f"{n}.png") for n in range(images)]
    assert not parts.exists()


def test_a_run_that_is_asked_to_stop_keeps_everything(bundle: Bundle, tmp_path: Path) -> None:
    source, pipe = with_a_gap(tmp_path, 20, 12)
    output, parts = tmp_path / "out.csv", tmp_path / ".out.csv.parts"
    process = start(bundle, source, output)
    # Somebody reads the pipe, so everything before it is being worked on.
    descriptor = os.open(pipe, os.O_WRONLY)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    os.close(descriptor)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "it goes on from here" in said
    kept = b"".join(part.read_bytes() for part in parts.glob("*.jsonl")).splitlines()
    assert len(kept) == 12
    assert not output.exists()
    pipe.unlink()
    pipe.write_bytes(png(phantoms(1)[0]))
    rows, said = run(bundle, source, output)
    assert len({row["file"] for row in rows}) == len(rows) == 20
    assert "20 of 20 images, 0 failed" in said


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` may be called again and again, and leaves pytest's logging alone."""
    name = "predictor.batch.__main__"
    monkeypatch.setattr(f"{name}.Metrics", lambda: Metrics(CollectorRegistry()))
    monkeypatch.setattr(f"{name}.logs.configure", lambda *_: None)


@pytest.mark.usefixtures("in_process")
def test_a_run_whose_engine_fails_ends_and_goes_on_with_the_same_engine(
    bundle: Bundle,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output, parts = tmp_path / "out.csv", tmp_path / ".out.csv.parts"
    odd = folder / os.fsdecode(b"0\xff.png")
    odd.write_bytes(png(phantoms(1)[0]))
    arguments = [str(folder), "--output", str(output), "--bundle", str(bundle.path)]
    submit, left = Batcher.submit, iter(range(3))

    async def fail_at_the_fourth(*given: Any, **named: Any) -> Any:
        if next(left, None) is None:
            raise EngineError("out of memory")
        return await submit(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Batcher, "submit", fail_at_the_fourth)
        chosen = ("--engine", "torchscript", "--max_queue", "1")
        assert main([*arguments, *chosen]) == EXIT_FAILED
    said = capsys.readouterr().err
    assert "error: out of memory" in said
    assert "it goes on from here" in said
    (part,) = parts.glob("*.jsonl")
    kept = [json.loads(line) for line in part.read_bytes().splitlines()]
    assert {Path(row["file"]).name for row in kept} == {"0.png", "0\\xff.png", "1.png"}
    # A failure that has nothing to do with the image, as an earlier run may have left it.
    kept[0] = {"file": kept[0]["file"], "error": "deadline"}
    part.write_text("".join(json.dumps(row) + "\n" for row in kept))
    # Were it read once more, it would be corrupt.
    odd.write_bytes(b"changed")
    assert main([*arguments, "--engine", "onnxruntime"]) == EXIT_WRONG
    assert (
        "was begun with engine 'torchscript', this run has 'onnxruntime'" in capsys.readouterr().err
    )
    assert main(arguments) == EXIT_SOME_FAILED
    assert {Path(row["file"]).name: row["error"] for row in table(output)} == {
        **{f"{number}.png": "" for number in range(7)}, "0\\xff.png": "", "3.JPG": "corrupt",
    }  # fmt: skip
    assert len(table(output)) == 9


def test_a_finished_table_and_rows_of_another_model_are_not_mixed(
    bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    output.write_text("mine")
    _, said = run(bundle, folder / "0.png", output, status=EXIT_WRONG)
    assert "exists; give --overwrite" in said
    assert output.read_text() == "mine"
    assert len(run(bundle, folder / "0.png", output, "--overwrite")[0]) == 1


@pytest.mark.parametrize(
    ("source", "flags", "message"),
    [
        ("nowhere/*.png", (), "input 'nowhere/*.png' has no file that matches"),
        ("list.csv", (), "has the columns id, path; a column 'file' is needed"),
        ("nul.csv", (), "line 2: file is 'a\\x00b.png'; accepted: a path"),
        ("0.png", ("--max_batch_size", "0"), "--max_batch_size is '0'; accepted: greater"),
        ("0.png", ("--output", "."), "output . ends in ''; accepted: .csv, .parquet"),
        ("0.png", ("--output", "t.xlsx"), "ends in '.xlsx'; accepted: .csv, .parquet"),
    ],
)
def test_wrong_use_is_said_before_anything_is_loaded(
    bundle: Bundle, tmp_path: Path, source: str, flags: tuple[str, ...], message: str
) -> None:
    (tmp_path / "list.csv").write_text("id,path\n1,0.png\n")
    (tmp_path / "nul.csv").write_text("file\na\0b.png\n")
    (tmp_path / "0.png").write_bytes(png(phantoms(1)[0]))
    path = source if source.startswith("nowhere") else tmp_path / source
    _, said = run(bundle, path, tmp_path / "out.csv", *flags, status=EXIT_WRONG)
    assert message in said
    assert "Traceback" not in said


def test_only_settings_that_matter_without_clients_are_offered(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = " ".join(build_parser().format_help().split())
    offered = set(re.findall(r"--([a-z_]+)", said)) - {"help", "output", "overlays", "overwrite"}
    assert {"bundle", "engine", "max_pixels", "decode_threads", "log_level"} < offered
    assert not offered & {"token_file", "request_log", "page", "drain_grace_s", "max_requests"}
    assert "throughput (full batches), balanced (default: throughput)" in said
    # A server's environment, as a Job that is made from its Deployment may have it.
    monkeypatch.setenv("SIGHTLINE_MAX_UPLOAD_BYTES", "1024")
    (tmp_path / "0.png").write_bytes(png(phantoms(1)[0]))
    assert run(bundle, tmp_path / "0.png", tmp_path / "out.csv")[0][0]["label"]


def test_a_glob_takes_what_matches_and_an_empty_folder_is_refused(folder: Path) -> None:
    assert [file.name for file in find(f"{folder}/**/*.png")] == [f"{n}.png" for n in range(7)]
    assert [file.name for file in find(f"{folder}/notes.txt")] == ["notes.txt"]
    (folder / "scan[1].png").touch()
    assert find(f"{folder}/scan[1].png") == [folder / "scan[1].png"]
    (folder / "empty").mkdir()
    with pytest.raises(StartError, match=r"has no file at any depth with a name in \.jpg"):
        find(str(folder / "empty"))
    # As an archive exports them: DICOM without a suffix.
    (folder / "empty" / "IM000001").touch()
    with pytest.raises(StartError, match="; 1 with other names, which a glob or a CSV would take"):
        find(str(folder / "empty"))


def test_results_refuse_another_job_and_a_second_run(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    with Results(output, {"bundle": "a"}, COLUMNS, overwrite=False) as results:
        results.add([{"file": "0.png", "label": "x"}])
        for overwrite in (False, True):
            with pytest.raises(StartError, match="is being made by another run"):
                Results(output, {"bundle": "a"}, COLUMNS, overwrite=overwrite)
    with Results(output, {"bundle": "a"}, COLUMNS, overwrite=False) as results:
        assert results.done == {"0.png"}
    with pytest.raises(StartError, match="was begun with bundle 'a', this run has 'b'"):
        Results(output, {"bundle": "b"}, COLUMNS, overwrite=False)
    with Results(output, {"bundle": "b"}, COLUMNS, overwrite=True) as again:
        assert again.done == set()


def test_names_with_commas_and_quotes_come_back(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    name = 'a, "b"\n.png'
    with Results(output, {}, COLUMNS, overwrite=False) as results:
        results.add([{"file": name, "label": "x"}, {"file": "ä.png", "error": "corrupt"}])
        results.finish()
    assert table(output) == [
        {"file": name, "label": "x", "error": ""},
        {"file": "ä.png", "label": "", "error": "corrupt"},
    ]


def test_parquet_without_pyarrow_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StartError, match=r"pip install 'sightline\[batch\]', or write \.csv"):
        check_format(Path("out.parquet"))


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        progress = Progress(10, 0, terminal)
        progress.show(5, 1, last=True)
        shown = os.read(master, 1000).decode()
    os.close(master)
    assert shown.startswith("\r[" + "#" * 15 + "." * 15 + "] 5 of 10 images, 1 failed")
    with (tmp_path / "log").open("w+") as log:
        Progress(10, 0, log).show(5, 1, last=True)
        log.seek(0)
        assert log.read().startswith("5 of 10 images, 1 failed")
