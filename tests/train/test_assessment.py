"""Figures against scikit-learn, intervals against scipy and against what must hold of them."""

import warnings
from itertools import product

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from model.manifest import ClassInfo
from train.assessment import Scored, assess
from train.assessment.bootstrap import Resamples
from train.assessment.curves import roc_and_precision_recall
from train.assessment.figures import sampled
from train.assessment.measures import Measures, bins_of_equal_mass
from train.assessment.schema import Assessment, Bootstrap
from train.assessment.scored import Floats

SPECIFICITIES = (0.90, 0.95)


def answers(count: int, classes: int, seed: int = 0, *, ties: bool = False) -> Scored:
    """Answers that are right about half of the time; with ties, in tenths."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, count - classes)])
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), labels] += 1.0
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if ties:
        # None is 0, for which the logarithm is cut off at different places.
        probabilities = probabilities.round(1) + 0.1
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Scored.of(labels, probabilities, [str(number // 3) for number in range(count)])


def classes_of(count: int) -> list[ClassInfo]:
    return [
        ClassInfo(key=f"c{k}", name=f"Class {k}", description="A class.", severity="low")
        for k in range(count)
    ]


def assessed(scored: Scored, seed: int = 0, resamples: int = 200) -> Assessment:
    return assess(
        scored,
        scored,
        classes_of(scored.classes),
        Resamples.draw(scored.patients, resamples, 0.95, seed),
        Bootstrap(
            resamples=resamples, confidence=0.95, seed=seed, unit="patient", units=scored.patients
        ),
        0.70,
        SPECIFICITIES,
    )


@pytest.mark.parametrize(("classes", "ties"), list(product((2, 4), (False, True))))
def test_figures_are_those_of_scikit_learn_for_any_weights(classes: int, ties: bool) -> None:
    scored = answers(300, classes, seed=classes, ties=ties)
    rng = np.random.default_rng(1)
    weights = np.vstack([np.ones(300), rng.integers(0, 4, (2, 300))]).astype(np.float64)
    found = Measures(scored, 0.70, SPECIFICITIES)(weights)
    true, given, share = scored.labels, scored.predicted, scored.probabilities
    for row, weight in enumerate(weights):
        by_class = reference.precision_recall_fscore_support(true, given, sample_weight=weight)
        for name, expected in zip(("precision", "recall", "f1"), by_class[:3], strict=True):
            assert found[name][row] == pytest.approx(expected)
        options = {"sample_weight": weight}
        for name, expected in (
            ("accuracy", reference.accuracy_score(true, given, **options)),
            ("balanced_accuracy", reference.balanced_accuracy_score(true, given, **options)),
            ("macro_f1", reference.f1_score(true, given, average="macro", **options)),
            ("kappa", reference.cohen_kappa_score(true, given, **options)),
            ("log_loss", reference.log_loss(true, share, **options)),
            (
                "brier",
                reference.brier_score_loss(true, share, scale_by_half=False, **options)
                if classes > 2
                else 2.0 * reference.brier_score_loss(true, share[:, 1], **options),
            ),
        ):
            assert found[name][row] == pytest.approx(expected), name
        for k in range(classes):
            positive, score = true == k, share[:, k]
            fall_out, recall, _ = reference.roc_curve(
                positive, score, sample_weight=weight, drop_intermediate=False
            )
            assert found["auroc"][row, k] == pytest.approx(
                reference.roc_auc_score(positive, score, **options)
            )
            assert found["auprc"][row, k] == pytest.approx(
                reference.average_precision_score(positive, score, **options)
            )
            for specificity in SPECIFICITIES:
                expected = recall[fall_out <= 1.0 - specificity + 1e-12].max()
                assert found[f"sensitivity@{specificity:g}"][row, k] == pytest.approx(expected)
        assert found["macro_auroc"][row] == pytest.approx(found["auroc"][row].mean())


def test_the_threshold_of_a_specificity_gives_it() -> None:
    scored = answers(300, 3)
    measures = Measures(scored, 0.70, SPECIFICITIES)
    for k, specificity in product(range(3), SPECIFICITIES):
        threshold = measures.threshold(k, specificity)
        assert threshold is not None
        taken = scored.probabilities[:, k] >= threshold
        assert (~taken[scored.labels != k]).mean() >= specificity
        sensitivity = measures(np.ones((1, 300)))[f"sensitivity@{specificity:g}"][0, k]
        assert taken[scored.labels == k].mean() == pytest.approx(sensitivity)


def test_no_threshold_reaches_a_specificity_that_the_surest_mistakes_prevent() -> None:
    scored = Scored.of(
        np.array([0, 0, 1, 1]), np.array([[0.1, 0.9], [0.1, 0.9], [0.6, 0.4], [0.7, 0.3]])
    )
    measures = Measures(scored, 0.70, (0.9,))
    assert measures(np.ones((1, 4)))["sensitivity@0.9"][0, 1] == 0.0
    assert measures.threshold(1, 0.9) is None


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    def error(labels: list[int], first: list[float], name: str = "ece") -> float:
        share = np.array(first)
        scored = Scored.of(np.array(labels), np.stack([share, 1.0 - share], axis=1))
        return float(Measures(scored, 0.70, ())(np.ones((1, len(labels))))[name][0])

    assert error([0] * 6 + [1] * 4, [0.9] * 10) == pytest.approx(0.3)
    assert error([0] * 9 + [1], [0.9] * 10) == pytest.approx(0.0)
    # Bins weigh as many images as they have: one of four is 0.6 sure and wrong.
    assert error([0, 0, 0, 1], [1.0, 1.0, 1.0, 0.6]) == pytest.approx(0.25 * 0.6)
    # Of equal mass, each of four images is a bin of its own.
    gaps = [0.1, 0.05, 0.0, 0.6]
    assert error([0, 0, 0, 1], [0.9, 0.95, 1.0, 0.6], "adaptive_ece") == pytest.approx(
        sum(gaps) / 4
    )


def test_bins_of_equal_mass_have_as_many_images_each() -> None:
    confidence = np.random.default_rng(0).random(150)
    number = bins_of_equal_mass(confidence)
    assert np.bincount(number).tolist() == [10] * 15
    assert all(
        confidence[number == k].max() <= confidence[number == k + 1].min() for k in range(14)
    )


def test_coverage_and_accuracy_are_split_at_the_threshold_of_indeterminate() -> None:
    share = np.array([[0.7, 0.3], [0.69, 0.31], [0.2, 0.8], [0.9, 0.1]])
    found = assessed(Scored.of(np.array([0, 1, 1, 1]), share)).overall
    assert found.coverage.value == 0.75
    assert found.decided_accuracy.value == pytest.approx(2 / 3)


def test_what_is_not_defined_is_absent_with_a_reason() -> None:
    share = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.4, 0.35, 0.25]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = assessed(Scored.of(np.array([0, 0, 1]), share))
    second, third = found.classes[1:]
    assert (second.precision.value, second.precision.reason) == (
        None,
        "no test image was taken for this class",
    )
    assert second.f1.value == 0.0
    assert third.support == 0
    for name in ("precision", "recall", "f1", "auroc", "auprc"):
        figure = getattr(third, name)
        assert figure.value is None
        assert figure.reason
    assert third.operating_points[0].sensitivity.value is None
    assert found.overall.decided_accuracy.reason == "every image is Indeterminate"
    assert found.overall.balanced_accuracy.value == 0.5
    assert found.confusion_shares[2] == [None, None, None]
    assert "c2" not in found.roc
    assert "no image of class c2" in found.warnings[0]
    assert "NaN" not in found.model_dump_json()


def test_one_class_alone_breaks_nothing() -> None:
    found = assessed(Scored.of(np.zeros(5, np.int64), np.tile([0.9, 0.1], (5, 1))))
    assert found.overall.accuracy.value == 1.0
    assert found.overall.accuracy.reason == "all resamples give the same"
    assert found.overall.kappa.value is None
    assert found.overall.macro_auroc.value is None
    assert "NaN" not in found.model_dump_json()


def test_one_image_breaks_nothing() -> None:
    found = assessed(Scored.of(np.array([1]), np.array([[0.2, 0.8]])))
    assert found.overall.macro_f1.value == 1.0
    assert found.overall.macro_f1.reason == "only one patient"


def test_curves_are_those_of_scikit_learn() -> None:
    scored = answers(120, 3, ties=True)
    positive, score = scored.labels == 1, scored.probabilities[:, 1]
    found = roc_and_precision_recall(positive, score)
    assert found is not None
    roc, curve = found
    fall_out, recall, _ = reference.roc_curve(positive, score, drop_intermediate=False)
    assert roc.x == pytest.approx(fall_out, abs=1e-5)
    assert roc.y == pytest.approx(recall, abs=1e-5)
    precision, recall, _ = reference.precision_recall_curve(positive, score)
    assert curve.x[1:] == pytest.approx(recall[::-1][1:], abs=1e-5)
    assert curve.y[1:] == pytest.approx(precision[::-1][1:], abs=1e-5)


def test_curves_of_many_images_keep_their_ends_and_few_points() -> None:
    scored = answers(5000, 2)
    found = roc_and_precision_recall(scored.labels == 1, scored.probabilities[:, 1])
    assert found is not None
    roc, _ = found
    assert len(roc.x) <= 200
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0.0, 0.0, 1.0, 1.0)


def accuracy_interval(scored: Scored, resamples: Resamples) -> tuple[float, float]:
    value, values = sampled(Measures(scored, 0.7, ()), scored, resamples)["accuracy"]
    found = resamples.interval(float(value), values)
    assert not isinstance(found, str)
    return found


def test_intervals_agree_with_scipy_where_images_are_independent() -> None:
    scored = answers(400, 3)
    alone = Scored.of(scored.labels, scored.probabilities)
    expected = stats.bootstrap(
        (alone.correct.astype(float),), np.mean, n_resamples=5000, method="BCa", rng=1
    ).confidence_interval
    found = accuracy_interval(alone, Resamples.draw(400, 5000, 0.95, seed=2))
    assert found == pytest.approx((expected.low, expected.high), abs=0.006)


def test_copies_of_images_of_a_patient_narrow_no_interval() -> None:
    once = answers(150, 3)
    once = Scored.of(once.labels, once.probabilities)
    thrice = Scored(
        np.repeat(once.labels, 3),
        np.repeat(once.probabilities, 3, axis=0),
        np.repeat(once.groups, 3),
    )
    resamples = Resamples.draw(150, 500, 0.95, seed=0)
    assert accuracy_interval(thrice, resamples) == pytest.approx(accuracy_interval(once, resamples))
    # Taken for independent, the same images would promise far too much.
    low, high = accuracy_interval(
        Scored.of(thrice.labels, thrice.probabilities), Resamples.draw(450, 500, 0.95, seed=0)
    )
    wide = np.subtract(*accuracy_interval(once, resamples)[::-1])
    assert high - low < 0.7 * wide


def test_an_interval_holds_its_figure_also_where_resamples_are_biased() -> None:
    found = assessed(answers(200, 3), resamples=500).overall
    for name in ("ece", "adaptive_ece", "macro_f1", "brier", "macro_auroc"):
        figure = getattr(found, name)
        assert figure.low <= figure.value <= figure.high, name
        assert figure.low < figure.high, name


def test_the_same_seed_gives_the_same_intervals() -> None:
    scored = answers(90, 3)
    assert assessed(scored, seed=5) == assessed(scored, seed=5)
    assert assessed(scored, seed=5).overall != assessed(scored, seed=6).overall


def test_resamples_draw_patients_with_all_their_images() -> None:
    scored = answers(99, 3)
    resamples = Resamples.draw(scored.patients, 50, 0.95, seed=0)
    assert (resamples.counts.sum(axis=1) == scored.patients).all()
    blocks: list[Floats] = list(resamples.blocks(scored.groups))
    weights = np.concatenate(blocks)
    assert weights.shape == (50, 99)
    assert (weights[:, 0::3] == weights[:, 1::3]).all()


def test_a_figure_that_few_resamples_have_gets_no_interval() -> None:
    resamples = Resamples.draw(10, 100, 0.95, seed=0)
    values = np.where(np.arange(100) < 40, np.linspace(0, 1, 100), np.nan)
    assert resamples.interval(0.2, values) == "defined in only 40 of 100 resamples"
