import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from train.errors import TrackingError
from train.tracking.base import Status
from train.tracking.buffered import BufferedTracker
from train.tracking.journal import Begin, End, File, Journal, Metrics, Record, Sent, Tags, journals
from train.tracking.store import RefusedError, StoreAwayError


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.create(tmp_path, "{}")
    yield journal
    journal.close()


def figures(step: int) -> Metrics:
    return Metrics(values={"loss": step / 2}, step=step, time_ms=1000 + step)


def records(journal: Journal, offset: int = 0) -> list[Record | None]:
    return [line.record for line in journal.read(offset)]


def begin(name: str = "run", time_ms: int = 1) -> Begin:
    return Begin(name=name, params={}, tags={}, parent=None, time_ms=time_ms)


class Shelf:
    """A store in memory that fails when it is told to."""

    address = "a shelf"

    def __init__(self) -> None:
        self.told: list[object] = []
        self.largest = 0
        self.away = self.deaf = False
        self.refuses: set[int] = set()

    def check(self) -> None:
        pass

    def begin(self, run_id: str, begin: Begin, *, again: bool) -> str:
        self._take(begin.name)
        return "shelf-1"

    def find(self, run_id: str) -> str | None:
        return "shelf-1" if self.told else None

    def resume(self, store_id: str) -> None:
        self._take("resume")

    def log(self, store_id: str, metrics: Sequence[Metrics], *, again: bool) -> None:
        steps = [each.step for each in metrics]
        self.largest = max(self.largest, len(steps))
        if self.refuses & set(steps):
            raise RefusedError("a figure is odd")
        there = set(self.told) if again else set()
        self._take(*[step for step in steps if step not in there])

    def set_tags(self, store_id: str, tags: Mapping[str, str]) -> None:
        self._take(dict(tags))

    def log_file(self, store_id: str, file: Path, path: str) -> None:
        self._take((path, file.read_text()))

    def end(self, store_id: str, status: Status, time_ms: int) -> None:
        self._take(status)

    def _take(self, *what: object) -> None:
        if self.away:
            raise StoreAwayError("the shelf is away")
        self.told.extend(what)
        if self.deaf:
            raise StoreAwayError("the shelf has not answered")


def test_what_is_added_is_read_again(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("as it was")
    added: list[Record] = [
        begin(),
        figures(1),
        Tags(tags={"a": "ü"}),
        End(status="FAILED", time_ms=9),
    ]
    for record in added:
        journal.add(record)
    journal.add_file(tmp_path / "a.txt", "under/a.txt")
    # As everything here is written: whole, in place of what was there.
    (tmp_path / "b.txt").write_text("as it is")
    (tmp_path / "b.txt").replace(tmp_path / "a.txt")
    *read, file = records(Journal(tmp_path, journal.run_id))
    assert read == added
    assert isinstance(file, File)
    assert (file.path, journal.held(file).read_text()) == ("under/a.txt", "as it was")
    journal.release(file)
    assert not journal.held(file).exists()


def test_infinite_figures_and_such_that_are_none_are_kept(journal: Journal) -> None:
    journal.add(Metrics(values={"a": float("inf"), "b": float("nan")}, step=1, time_ms=1))
    (record,) = records(journal)
    assert isinstance(record, Metrics)
    assert (record.values["a"], str(record.values["b"])) == (float("inf"), "nan")


def test_a_line_that_a_crash_has_torn_costs_that_line_alone(
    journal: Journal, tmp_path: Path
) -> None:
    journal.add(figures(1))
    with (journal.path / "journal.jsonl").open("ab") as stream:
        stream.write(b'{"kind": "metrics", "val')
    assert records(journal) == [figures(1)]
    later = Journal(tmp_path, journal.run_id)
    later.add(figures(2))
    later.close()
    assert records(journal) == [figures(1), None, figures(2)]


def test_a_full_disk_is_an_error_and_the_next_line_is_whole(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.add(figures(1))
    original = os.write
    # A real full disk takes a file system of its own, for which a test has no right.
    monkeypatch.setattr(os, "write", lambda file, data: original(file, data[: len(data) // 2]))
    with pytest.raises(OSError, match="is the disk full"):
        journal.add(figures(2))
    monkeypatch.undo()
    journal.add(figures(3))
    assert records(journal) == [figures(1), None, figures(3)]


def test_journals_come_in_the_order_of_their_runs(tmp_path: Path) -> None:
    for time_ms in (30, 10, 20):
        journal = Journal.create(tmp_path, "{}")
        journal.add(begin(str(time_ms), time_ms))
        journal.close()
    assert [each.began_ms() for each in journals(tmp_path)] == [10, 20, 30]


def test_a_journal_is_complete_when_all_is_acknowledged(journal: Journal) -> None:
    journal.add(begin())
    assert not journal.complete
    assert not journal.closed
    journal.acknowledge(Sent(store_id="x", offset=journal.size))
    assert journal.complete
    journal.add(End(status="FINISHED", time_ms=2))
    assert not journal.complete
    assert journal.closed


def test_a_run_goes_on_where_its_journal_is_not(tmp_path: Path) -> None:
    shelf, said = Shelf(), list[str]()
    other = BufferedTracker(tmp_path / "other", shelf, said.append)
    other.resume("0123")
    # Its first process, on another machine, has not told of it yet.
    with pytest.raises(TrackingError, match="does not have run 0123 yet"):
        other.sync()
    first = BufferedTracker(tmp_path / "first", shelf, said.append)
    first.begin("run", {}, {})
    other.log_metrics({"loss": 1.0}, 7)
    assert other.sync() == "shelf-1"
    other.end("FINISHED")
    first.end("FINISHED")
    assert shelf.told == ["run", "resume", 7, "FINISHED", "FINISHED"]


def test_a_long_outage_is_told_in_order_once_and_piece_by_piece(tmp_path: Path) -> None:
    shelf, said = Shelf(), list[str]()
    shelf.away = True
    tracker = BufferedTracker(tmp_path, shelf, said.append)
    run_id = tracker.begin("run", {}, {})
    for step in range(3000):
        tracker.log_metrics({"loss": 1.0}, step)
    with pytest.raises(TrackingError, match="the shelf is away"):
        tracker.sync()
    tracker.end("KILLED")
    assert shelf.told == []
    assert sum("The work goes on" in text for text in said) == 1
    assert "3002 records of this run wait in" in said[-1]
    shelf.away = False
    later = BufferedTracker(tmp_path, shelf, said.append)
    later.resume(run_id)
    assert later.sync() == "shelf-1"
    later.end("FINISHED")
    assert shelf.told == ["run", *range(3000), "KILLED", "resume", "FINISHED"]
    assert shelf.largest <= 500


def test_what_arrived_unheard_is_not_told_twice(tmp_path: Path) -> None:
    shelf = Shelf()
    tracker = BufferedTracker(tmp_path, shelf, lambda text: None)
    tracker.begin("run", {}, {})
    shelf.deaf = True
    for step in range(5):
        tracker.log_metrics({"loss": 1.0}, step)
    with pytest.raises(TrackingError, match="has not answered"):
        tracker.sync()
    shelf.deaf = False
    tracker.log_metrics({"loss": 1.0}, 5)
    tracker.end("FINISHED")
    assert shelf.told == ["run", *range(6), "FINISHED"]


def test_what_is_refused_takes_nothing_else_with_it(tmp_path: Path) -> None:
    shelf, said = Shelf(), list[str]()
    shelf.refuses = {2}
    tracker = BufferedTracker(tmp_path, shelf, said.append)
    tracker.begin("run", {}, {})
    for step in range(5):
        tracker.log_metrics({"loss": 1.0}, step)
    tracker.end("FINISHED")
    assert shelf.told == ["run", 0, 1, 3, 4, "FINISHED"]
    assert said == [
        "a shelf refuses a metrics record: a figure is odd",
        "a shelf has refused 1 record of this run",
    ]


def test_a_store_that_breaks_in_an_unknown_way_ends_no_training(tmp_path: Path) -> None:
    class Broken(Shelf):
        def log(self, store_id: str, metrics: Sequence[Metrics], *, again: bool) -> None:
            raise ZeroDivisionError

    said = list[str]()
    tracker = BufferedTracker(tmp_path, Broken(), said.append)
    tracker.begin("run", {}, {})
    tracker.log_metrics({"loss": 1.0}, 1)
    tracker.end("FINISHED")
    assert "ZeroDivisionError" in said[0]
    assert "2 records of this run wait in" in said[-1]


def test_nothing_is_recorded_before_a_run_has_begun(tmp_path: Path) -> None:
    tracker = BufferedTracker(tmp_path, Shelf(), lambda text: None)
    with pytest.raises(TrackingError, match="begin or resume a run first"):
        tracker.log_metrics({"loss": 1.0})
    tracker.end("FAILED")
