import numpy as np
import pytest
import torch

from model.manifest import ClassInfo
from train.errors import ConfigError, DataError
from train.imbalance import (
    balanced_order,
    check_weights,
    class_counts,
    class_weights,
    describe_weights,
)
from train.recipe import LoopConfig

CLASSES = [
    ClassInfo(key=key, name=key, description=key, severity="none") for key in ("nv", "mel", "df")
]
LABELS = np.repeat([0, 1, 2], [900, 90, 10])


def weights(**settings: object) -> list[float]:
    loop = LoopConfig.model_validate(settings)
    found = class_weights(loop, class_counts(LABELS, CLASSES), CLASSES)
    assert found is not None
    return found.tolist()


def test_balanced_weights_give_each_class_the_same_say() -> None:
    found = weights(class_weights="balanced")
    assert np.multiply(found, [900, 90, 10]) == pytest.approx([1000 / 3] * 3)


def test_effective_numbers_lie_between_none_and_balanced() -> None:
    mild = weights(class_weights="effective", effective_beta=0.9)
    strong = weights(class_weights="effective", effective_beta=1 - 1e-7)
    assert np.dot(mild, [900, 90, 10]) == pytest.approx(1000, rel=1e-5)
    assert strong == pytest.approx(weights(class_weights="balanced"), rel=1e-3)
    # The formula of the paper, for two of the classes.
    assert mild[2] / mild[1] == pytest.approx((1 - 0.9**90) / (1 - 0.9**10), rel=1e-5)
    assert 1.0 < mild[2] / mild[0] < strong[2] / strong[0]


def test_given_weights_are_taken_by_key() -> None:
    assert weights(class_weights={"df": 5.0, "nv": 1.0, "mel": 3.0}) == [1.0, 3.0, 5.0]


def test_given_weights_of_other_classes_are_refused() -> None:
    loop = LoopConfig(class_weights={"nv": 1.0, "bcc": 2.0})
    with pytest.raises(ConfigError, match=r"class_weights has weights of bcc, nv;.* nv, mel, df"):
        check_weights(loop, CLASSES)
    check_weights(LoopConfig(class_weights="balanced"), CLASSES)


def test_there_are_no_weights_unless_asked_for() -> None:
    assert class_weights(LoopConfig(), class_counts(LABELS, CLASSES), CLASSES) is None


def test_a_class_without_training_images_is_named() -> None:
    with pytest.raises(DataError, match="train has no image of class mel, df"):
        class_counts(np.zeros(5, np.int64), CLASSES)


def test_weights_are_told_by_class() -> None:
    text = describe_weights(torch.tensor([0.37037, 3.7037, 33.333]), CLASSES)
    assert text == "class weights: nv 0.37, mel 3.7, df 33.3"


def test_the_balanced_sampler_draws_each_class_as_often() -> None:
    order = balanced_order(LABELS, torch.Generator().manual_seed(0))
    assert len(order) == len(LABELS)
    assert np.bincount(LABELS[order.numpy()]) == pytest.approx([333, 333, 333], abs=60)
