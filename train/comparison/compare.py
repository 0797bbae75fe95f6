"""Runs against the first of them."""

from collections.abc import Sequence

from train.comparison.candidate import Candidate
from train.comparison.paired import config_differences, pair
from train.comparison.schema import Comparison, Contestant, DataChanges, Paired
from train.data import versions

_SEED = 0
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def compare(candidates: Sequence[Candidate], resamples: int) -> Comparison:
    """Compare runs with the first of them.

    Args:
        candidates: two or more.
        resamples: of the patients, the same for both of a pair.
    """
    return Comparison(
        runs=[
            _contestant(number, each, candidates, resamples)
            for number, each in enumerate(candidates)
        ],
        resamples=resamples,
        seed=_SEED,
        config=config_differences([each.evaluation.config for each in candidates]),
    )


def _contestant(
    number: int, candidate: Candidate, candidates: Sequence[Candidate], resamples: int
) -> Contestant:
    first, evaluation = candidates[0], candidate.evaluation
    assessment = evaluation.assessment
    confidence = first.evaluation.assessment.bootstrap.confidence
    paired: Paired | str | None = None
    if number:
        thresholds = (
            first.evaluation.assessment.indeterminate_below,
            assessment.indeterminate_below,
        )
        # Bonferroni: with several runs, one of them would look better by chance soon enough.
        corrected = 1.0 - (1.0 - confidence) / (len(candidates) - 1)
        paired = pair(
            first.predictions, candidate.predictions, thresholds, resamples, corrected, _SEED
        )
    return Contestant(
        letter=letter(number),
        name=evaluation.name,
        where=candidate.where,
        architecture=str(evaluation.config.get("model.architecture", "")),
        images=assessment.images,
        patients=assessment.patients,
        confidence=assessment.bootstrap.confidence,
        overall=assessment.overall,
        f1={each.key: each.f1 for each in assessment.classes},
        paired=None if isinstance(paired, str) else paired,
        unpaired_because=paired if isinstance(paired, str) else None,
        data=_data(first, candidate) if number else None,
        verdict=_verdict(letter(number), paired) if number else "the one compared with",
    )


def letter(number: int) -> str:
    """A to Z, then AA and so on."""
    ahead = _LETTERS[number // 26 - 1] if number >= 26 else ""
    return ahead + _LETTERS[number % 26]


def _data(first: Candidate, other: Candidate) -> DataChanges | None:
    if first.files is None or other.files is None:
        return None
    changes = versions.compare(first.files, other.files)
    return DataChanges(**{kind: len(lines) for kind, lines in changes})


def _verdict(name: str, paired: Paired | str | None) -> str:
    """A sentence on macro-F1, by which models are released."""
    if not isinstance(paired, Paired):
        return f"{name} and A cannot be compared image by image: {paired}"
    found = paired.overall["macro_f1"]
    value, low, high = found.difference.value, found.difference.low, found.difference.high
    on = f"on {paired.images} common test images"
    if value is None or low is None or high is None:
        if value == 0.0:
            return f"{name} is as good as A by macro-F1 {on}, in every resample"
        return f"{name} and A cannot be told apart by macro-F1 {on}: {found.difference.reason}"
    interval = f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
    if found.verdict == "better":
        return f"{name} is better than A by macro-F1 {interval} {on}, more than noise"
    if found.verdict == "worse":
        return f"{name} is worse than A by macro-F1 {interval} {on}, more than noise"
    return f"{name} is not better or worse than A beyond noise: macro-F1 {interval} {on}"
