import pytest

from predictor.admission import Admission
from predictor.errors import QueueFullError


def test_places_are_held_until_the_request_ends() -> None:
    admission = Admission(4)
    with admission.admit(3):
        assert admission.images == 3
        with (
            pytest.raises(QueueFullError, match=r"3 images .* has 2; at most 4"),
            admission.admit(2),
        ):
            pass
        with admission.admit(1):
            assert admission.images == 4
    assert admission.images == 0


def test_a_failed_request_gives_its_places_back() -> None:
    admission = Admission(1)
    with pytest.raises(ValueError, match="boom"), admission.admit(1):
        raise ValueError("boom")
    with admission.admit(1):
        assert admission.images == 1


def test_the_wait_is_guessed_from_the_engine_and_what_is_ahead() -> None:
    admission = Admission(100, images_per_second=20.0)
    with admission.admit(100), pytest.raises(QueueFullError) as caught, admission.admit(1):
        pass
    assert caught.value.retry_after_s == 5.0
