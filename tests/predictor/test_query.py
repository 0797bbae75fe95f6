import pytest

from model.image import ImageLimits
from predictor.errors import ItemError, MalformedRequestError, TooLargeError
from predictor.query import Contract

CONTRACT = Contract(("normal", "7"), (2, 2), ImageLimits(max_pixels=10_000), max_images=4)


@pytest.mark.parametrize(
    ("value", "index"),
    [(None, None), ("normal", 0), ("7", 1), ("0", 0), (1, 1), ("1", 1)],
)
def test_a_class_is_named_by_key_or_index(value: object, index: int | None) -> None:
    assert CONTRACT.class_index(value) == index


@pytest.mark.parametrize("value", ["other", -1, 2, "2", True, 1.0, ["normal"], "", "x" * 500])
def test_an_unknown_class_is_refused_with_those_that_exist(value: object) -> None:
    with pytest.raises(MalformedRequestError, match="accepted: normal, 7, or an index from 0 to 1"):
        CONTRACT.class_index(value)


def test_the_number_of_images_is_bounded() -> None:
    CONTRACT.check_count(4, "input image")
    with pytest.raises(TooLargeError, match="input image has 5 images; at most 4"):
        CONTRACT.check_count(5, "input image")
    with pytest.raises(MalformedRequestError, match="at least one"):
        CONTRACT.check_count(0, "input image")


def test_raw_pixels_have_the_limits_of_encoded_images() -> None:
    CONTRACT.check_pixels(100, 100)
    with pytest.raises(ItemError, match="at most 10,000") as caught:
        CONTRACT.check_pixels(101, 100)
    assert caught.value.status == 413
