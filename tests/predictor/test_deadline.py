import pytest

from predictor.deadline import ENVOY_HEADER, HEADER, header_timeout_s, parameter_timeout_s
from predictor.errors import MalformedRequestError


def test_the_header_is_in_seconds_and_the_gateway_s_in_milliseconds() -> None:
    assert header_timeout_s({}) is None
    assert header_timeout_s({HEADER: "2"}) == 2.0
    assert header_timeout_s({HEADER: "0.25"}) == 0.25
    assert header_timeout_s({ENVOY_HEADER: "1500"}) == 1.5


def test_the_shortest_of_both_wins() -> None:
    assert header_timeout_s({HEADER: "2", ENVOY_HEADER: "1500"}) == 1.5
    assert header_timeout_s({HEADER: "1", ENVOY_HEADER: "1500"}) == 1.0


@pytest.mark.parametrize("value", ["", "0", "0.0", "-1", "1s", "nan", "inf", "1e3", "9" * 10, "²"])
def test_a_header_that_is_no_positive_number_is_named(value: str) -> None:
    with pytest.raises(MalformedRequestError, match=r"header timeout is .*; a number of seconds"):
        header_timeout_s({HEADER: value})


def test_the_parameter_is_in_microseconds_and_0_is_none_as_in_triton() -> None:
    assert parameter_timeout_s(None) is None
    assert parameter_timeout_s(0) is None
    assert parameter_timeout_s(250_000) == 0.25


@pytest.mark.parametrize("value", [-1, 1.5, "5", True, [1]])
def test_a_parameter_that_is_no_count_is_named(value: object) -> None:
    with pytest.raises(
        MalformedRequestError, match=r"parameter timeout is .*; an integer of micro"
    ):
        parameter_timeout_s(value)
