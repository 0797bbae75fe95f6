import time

import pytest

from predictor.door import Door
from predictor.errors import MalformedRequestError, TooManyRequestsError, UploadsFullError
from predictor.settings import Settings


def door(**changes: int) -> Door:
    return Door(Settings(max_body_bytes=1024, **changes))  # type: ignore[arg-type]


def test_places_and_bytes_are_held_until_the_request_ends() -> None:
    two = door(max_requests=2)
    with two.enter({}) as first, two.enter({}):
        first.hold(100)
        assert (two.requests, two.bytes) == (2, 100)
        with (
            pytest.raises(TooManyRequestsError, match=r"2 requests .* at most 2 are accepted"),
            two.enter({}),
        ):
            pass
    assert (two.requests, two.bytes) == (0, 0)


def test_the_bytes_of_all_requests_together_are_bounded() -> None:
    small = door(max_upload_bytes=1500)
    with small.enter({}) as first:
        first.hold(1000)
        with small.enter({}) as second:
            second.hold(500)
            with pytest.raises(UploadsFullError, match="hold 1,500 bytes; at most 1,500"):
                second.hold(1)
        assert small.bytes == 1000, "the ended request's own bytes are given back"
    with small.enter({}) as again:
        again.hold(1500)


def test_the_nearest_deadline_is_kept() -> None:
    with door().enter({"timeout": "5"}) as visit:
        assert visit.deadline - time.monotonic() == pytest.approx(5.0, abs=1.0)
        visit.within(None)
        visit.within(60.0)
        assert visit.deadline - time.monotonic() == pytest.approx(5.0, abs=1.0)
        visit.within(2.0)
        assert visit.deadline - time.monotonic() == pytest.approx(2.0, abs=1.0)


def test_a_wrong_header_takes_no_place() -> None:
    one = door(max_requests=1)
    with pytest.raises(MalformedRequestError), one.enter({"timeout": "soon"}):
        pass
    assert one.requests == 0
