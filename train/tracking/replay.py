"""What a store has missed, sent when it is back."""

from collections.abc import Sequence
from pathlib import Path

from train.config import load_tracking
from train.console import Console
from train.errors import RunError, TrackingError
from train.tracking.buffered import left_over
from train.tracking.journal import End, Journal, journals
from train.tracking.registry import JOURNALS, make_store
from train.tracking.sender import Sender


def replay(directory: Path, overrides: Sequence[str], console: Console) -> None:
    """Send what the runs in a directory, nested ones too, have recorded and their stores lack.

    A run whose process has died without a word is ended as killed.

    Args:
        directory: of a run or of several.
        overrides: `tracking.key=value` changes, such as the address that the store has now.
        console: is told what was sent.

    Raises:
        RunError: nothing was ever recorded there.
        TrackingError: a store is still away; what it lacks stays where it is.
    """
    found = find_journals(directory)
    if not found:
        raise RunError(
            f"{directory} holds no recorded run; one without a tracker leaves no journal"
        )
    failed: TrackingError | None = None
    for journal in found:
        try:
            _replay_one(journal, overrides, console)
        except TrackingError as error:
            console.say(left_over(journal, error))
            failed = failed or error
    if failed is not None:
        raise failed


def find_journals(directory: Path) -> list[Journal]:
    """All journals in a directory and below, outer runs before those that are nested in them."""
    folders = [directory, *directory.rglob("*")] if directory.is_dir() else []
    places = [each / JOURNALS for each in folders if (each / JOURNALS).is_dir()]
    found = [each for place in places for each in journals(place)]
    parents = {each.run_id: each.parent for each in found if each.parent is not None}

    def order(journal: Journal) -> tuple[int, int]:
        depth, outer = 0, parents.get(journal.run_id)
        # The time alone does not do: a run and one within it may begin in the same millisecond.
        while outer is not None and depth < len(parents):
            depth, outer = depth + 1, parents.get(outer)
        return depth, journal.began_ms()

    return sorted(found, key=order)


def _replay_one(journal: Journal, overrides: Sequence[str], console: Console) -> None:
    with journal.in_step() as ours:
        if not ours:
            console.say(f"run {journal.run_id}: is being recorded by another process")
            return
        if not journal.closed:
            journal.add(End(status="KILLED", time_ms=journal.last_ms))
        waiting = journal.lines(journal.sent.offset)
        store = make_store(load_tracking(journal.settings, overrides), journal.path.parents[1])
        if store is None:
            raise TrackingError("tracking.tracker is 'none', which records nothing")
        sender = Sender(journal, store, console.say, told=True)
        try:
            sender.drain()
        finally:
            sender.stop()
            journal.close()
        sent = sender.sent
        records = f"{waiting} records sent" if waiting else "nothing was missing"
        refused = f", {sent.refused} of all refused" if sent.refused else ""
        console.say(
            f"run {journal.run_id}: {records}{refused}; it is {sent.store_id} in {store.address}"
        )
