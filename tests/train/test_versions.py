from pathlib import Path

import pytest

from train.__main__ import main
from train.data.versions import Entry, compare, read_files
from train.run import Run

BEFORE = {
    "a/1.png": Entry("a", "p1", "11"),
    "a/2.png": Entry("a", "p2", "22"),
    "a/3.png": Entry("a", "p3", "33"),
    "b/4.png": Entry("b", "p4", "44"),
    "b/5.png": Entry("b", "p5", "55"),
}


def test_equal_data_has_no_difference() -> None:
    assert str(compare(BEFORE, dict(BEFORE))) == "no difference"


def test_every_kind_of_change_is_told() -> None:
    after = {
        "a/1.png": Entry("a", "p1", "99"),
        "a/2.png": Entry("b", "p2", "22"),
        "a/3.png": Entry("a", "p9", "33"),
        "a/4.png": Entry("a", "p4", "44"),
        "b/6.png": Entry("b", "p6", "66"),
    }
    changes = compare(BEFORE, after)
    assert changes.model_dump() == {
        "added": ["b/6.png"],
        "removed": ["b/5.png"],
        "renamed": ["b/4.png -> a/4.png"],
        "pixels": ["a/1.png"],
        "labels": ["b/4.png -> a/4.png: b -> a", "a/2.png: a -> b"],
        "patients": ["a/3.png: p3 -> p9"],
    }
    assert "1 with other bytes\n  a/1.png" in str(changes)


def test_two_copies_are_not_both_the_old_file() -> None:
    after = {"x.png": Entry("a", "p1", "11"), "y.png": Entry("a", "p1", "11")}
    changes = compare({"a/1.png": BEFORE["a/1.png"]}, after)
    assert (changes.renamed, changes.added) == (["a/1.png -> x.png"], ["y.png"])


def test_the_list_is_kept_with_the_run_and_compared_by_command(
    exported: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = read_files(exported.path)
    assert len(entries) == len(exported.data.samples)
    assert entries["disc/03-1.png"][:2] == ("disc", "disc-03")
    text = (exported.path / "data.csv").read_text()
    (tmp_path / "other.csv").write_text(text.replace("disc/03-1.png,disc", "disc/03-1.png,bars"))
    assert main(["data", "diff", str(exported.path), str(tmp_path / "other.csv")]) == 0
    assert capsys.readouterr().out == ("1 with another label\n  disc/03-1.png: disc -> bars\n")


@pytest.mark.parametrize("text", ["file,label\n", "\xff", None])
def test_what_is_no_list_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    if text is not None:
        (tmp_path / "data.csv").write_bytes(text.encode("latin-1"))
    assert main(["data", "diff", str(tmp_path), str(tmp_path)]) == 2
    assert "data.csv" in capsys.readouterr().err
