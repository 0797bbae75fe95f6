"""Two classifiers on the same images."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from train.assessment.bootstrap import Resamples
from train.assessment.figures import figure, sampled
from train.assessment.measures import Measures
from train.assessment.schema import Figure, Overall
from train.assessment.scored import Floats, Ints, Scored
from train.comparison.schema import Difference, Paired, SignFlips, Verdict
from train.predictions import Predictions

# Of the others, more is better. How many images are decided is neither good nor bad by itself.
LESS_IS_BETTER = ("ece", "adaptive_ece", "brier", "log_loss")
NEITHER = ("coverage",)
_FEWEST_IMAGES = 10


def pair(
    first: Predictions,
    other: Predictions,
    thresholds: tuple[float, float],
    resamples: int,
    confidence: float,
    seed: int,
) -> Paired | str:
    """Compare the answers for the images that both test splits have, or say why they cannot be.

    The same resamples of patients are drawn for both, so what is hard about a patient is hard for
    both and cancels out.

    Args:
        first, other: answers; the classes may be in different orders.
        thresholds: confidence under which each of them gives no answer.
        resamples: of the patients.
        confidence: of the intervals.
        seed: of the resamples.
    """
    if sorted(first.keys) != sorted(other.keys):
        return f"other classes: {', '.join(first.keys)} and {', '.join(other.keys)}"
    # A copy of an image has the same answers, so one of them is enough.
    mine = {image: n for n, image in reversed(list(enumerate(first.images)))}
    theirs = {image: n for n, image in reversed(list(enumerate(other.images)))}
    common = [image for image in mine if image in theirs]
    order = [other.keys.index(key) for key in first.keys]
    a = first.scored.only(np.array([mine[image] for image in common], dtype=np.int64))
    b = other.scored.only(np.array([theirs[image] for image in common], dtype=np.int64))
    b = Scored(np.argsort(order)[b.labels].astype(np.int64), b.probabilities[:, order], b.groups)
    agreed = np.flatnonzero(a.labels == b.labels)
    if len(agreed) < _FEWEST_IMAGES:
        return f"{len(agreed)} common test images; at least {_FEWEST_IMAGES} are needed"
    a, b = a.only(agreed), b.only(agreed)
    groups = joined(a.groups, b.groups)
    a, b = (Scored(each.labels, each.probabilities, groups) for each in (a, b))
    drawn = Resamples.draw(a.patients, resamples, confidence, seed)
    (mine_found, theirs_found) = (
        sampled(Measures(each, threshold, ()), each, drawn)
        for each, threshold in zip((a, b), thresholds, strict=True)
    )

    def difference(name: str, k: int | None = None) -> Difference:
        (x, xs), (y, ys) = mine_found[name], theirs_found[name]
        if k is not None:
            x, xs, y, ys = x[k], xs[:, k], y[k], ys[:, k]
        return _difference(name, float(x), float(y), xs, ys, drawn)

    return Paired(
        images=len(a),
        patients=a.patients,
        same_test_images=set(mine) == set(theirs),
        other_labels=len(common) - len(agreed),
        confidence=confidence,
        overall={name: difference(name) for name in Overall.model_fields},
        f1={key: difference("f1", k) for k, key in enumerate(first.keys)},
        auroc={key: difference("auroc", k) for k, key in enumerate(first.keys)},
        accuracy_test=sign_flips(a, b),
    )


def joined(one: Ints, two: Ints) -> Ints:
    """Patients such that whoever is one by either numbering is one, [N]."""
    rows = np.arange(len(one))
    _, first = np.unique(one, return_index=True)
    home_one = first[np.unique(one, return_inverse=True)[1]]
    _, first = np.unique(two, return_index=True)
    home_two = first[np.unique(two, return_inverse=True)[1]]
    ends = (np.concatenate([rows, rows]), np.concatenate([home_one, home_two]))
    graph = coo_array((np.ones(len(ends[0])), ends), shape=(len(one), len(one)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def sign_flips(first: Scored, other: Scored) -> SignFlips:
    """McNemar's exact test, with the answers of a patient exchanged all at once.

    If neither is better, a patient's answers could as well have been the other's. Over all such
    exchanges, the p-value is the share with at least as large a difference in correct answers.
    With one image per patient this is McNemar's exact test, https://doi.org/10.1007/BF02295996;
    that test itself takes the images of a patient for independent.
    """
    gain = other.correct.astype(np.int64) - first.correct.astype(np.int64)
    by_patient = np.bincount(first.groups, weights=gain).round().astype(np.int64)
    steps = np.abs(by_patient[by_patient != 0])
    # Share of each sum from -total to total, two apart; a patient moves it up or down.
    shares: Floats = np.ones(1)
    for step in steps:
        wider = np.zeros(len(shares) + step)
        wider[: len(shares)] += shares / 2.0
        wider[step:] += shares / 2.0
        shares = wider
    total = int(steps.sum())
    sums = 2 * np.arange(len(shares)) - total
    extreme = np.abs(sums) >= abs(int(by_patient.sum()))
    return SignFlips(
        only_first_right=int((gain < 0).sum()),
        only_other_right=int((gain > 0).sum()),
        unit="image" if first.patients == len(first) else "patient",
        p_value=float(min(1.0, shares[extreme].sum())),
    )


def _difference(
    name: str, first: float, other: float, firsts: Floats, others: Floats, drawn: Resamples
) -> Difference:
    found = figure(name, other - first, others - firsts, drawn)
    return Difference(
        first=_or_none(first),
        other=_or_none(other),
        difference=found,
        verdict=_verdict(name, found),
    )


def _verdict(name: str, found: Figure) -> Verdict:
    if found.low is None or found.high is None:
        # All resamples agree: both give the same answers, or one of them always wins.
        same = found.value == 0.0
        return "no difference beyond noise" if same else "cannot be told"
    if found.low <= 0.0 <= found.high:
        return "no difference beyond noise"
    if name in NEITHER:
        return "different"
    up = found.low > 0.0
    return "better" if up != (name in LESS_IS_BETTER) else "worse"


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def config_differences(configs: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    """Settings that are not the same in all runs, with each run's value."""
    keys = sorted({key for config in configs for key in config})
    rows = {key: [config.get(key) for config in configs] for key in keys}
    return {key: row for key, row in rows.items() if any(value != row[0] for value in row)}
