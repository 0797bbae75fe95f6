"""All figures of a classifier at once, for many weightings of its images.

A weighting is a row of weights [N]: ones for the figures themselves, and how often each image was
drawn for a resample. Where a figure is not defined it is NaN here; what leaves this package says
why instead.
"""

from dataclasses import dataclass

import numpy as np

from train.assessment.scored import Bools, Floats, Ints, Scored

ECE_BINS = 15
_LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class _Ranking:
    """One class against the rest, from the surest image to the least sure.

    Attributes:
        order: positions of the images, [N].
        positive: whether each is of the class, in that order.
        ends: the last position of each run of equal scores; nothing separates equal scores.
        scores: that score of each run.
    """

    order: Ints
    positive: Bools
    ends: Ints
    scores: Floats

    @classmethod
    def of(cls, scored: Scored, k: int) -> "_Ranking":
        order = np.argsort(-scored.probabilities[:, k], kind="stable")
        sorted_scores = scored.probabilities[order, k]
        ends = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True))
        return cls(order, scored.labels[order] == k, ends, sorted_scores[ends])

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """True and false positives at each threshold, [R, T]."""
        drawn = weights[:, self.order]
        every = np.cumsum(drawn, axis=1)[:, self.ends]
        true = np.cumsum(drawn * self.positive, axis=1)[:, self.ends]
        return true, every - true


class Measures:
    """Figures of one set of answers.

    Args:
        scored: the answers; at least one.
        indeterminate_below: confidence under which no answer is given.
        specificities: at which the sensitivity is asked for.
    """

    def __init__(
        self, scored: Scored, indeterminate_below: float, specificities: tuple[float, ...]
    ) -> None:
        self._classes, self._specificities = scored.classes, specificities
        self._columns = _columns(scored, indeterminate_below)
        self._rankings = [_Ranking.of(scored, k) for k in range(scored.classes)]

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Figures by name for weights [R, N]: [R], or [R, K] where one is of each class.

        Per class: `precision`, `recall`, `f1`, `auroc`, `auprc`, `sensitivity@S`.
        """
        sums = {name: weights @ column for name, column in self._columns.items()}
        found = self._from_confusion(sums) | self._from_sums(sums)
        ranked = [self._ranked(ranking, weights) for ranking in self._rankings]
        found |= {name: np.stack([each[name] for each in ranked], axis=1) for name in ranked[0]}
        return found | {"macro_auroc": _mean_of_defined(found["auroc"])}

    def threshold(self, k: int, specificity: float) -> float | None:
        """The lowest score of a class that may count as positive at a specificity."""
        ranking = self._rankings[k]
        _, false = ranking.counts(np.ones((1, len(ranking.order))))
        last = self._last_allowed(false, specificity)[0]
        return float(ranking.scores[last]) if last >= 0 else None

    def _from_confusion(self, sums: dict[str, Floats]) -> dict[str, Floats]:
        K = self._classes
        confusion = sums["confusion"].reshape(-1, K, K)
        true, given = confusion.sum(axis=2), confusion.sum(axis=1)
        hits = np.diagonal(confusion, axis1=1, axis2=2)
        total = confusion.sum(axis=(1, 2))
        recall, accuracy = _ratio(hits, true), _ratio(hits.sum(axis=1), total)
        f1 = _ratio(2.0 * hits, true + given)
        by_chance = _ratio((true * given).sum(axis=1), total**2)
        # Rounding must not make an agreement that chance alone explains look like more.
        by_chance = np.where(by_chance > 1.0 - _ROUNDING, 1.0, by_chance)
        return {
            "precision": _ratio(hits, given),
            "recall": recall,
            "f1": f1,
            "accuracy": accuracy,
            "balanced_accuracy": _mean_of_defined(recall),
            # Over the classes that occur: one that has not been drawn cannot be missed.
            "macro_f1": _mean_of_defined(np.where(true > 0, f1, np.nan)),
            "kappa": _ratio(accuracy - by_chance, 1.0 - by_chance),
        }

    def _from_sums(self, sums: dict[str, Floats]) -> dict[str, Floats]:
        total = sums["one"][:, 0]
        return {
            "ece": _ratio(np.abs(sums["gap"]).sum(axis=1), total),
            "adaptive_ece": _ratio(np.abs(sums["adaptive_gap"]).sum(axis=1), total),
            "brier": _ratio(sums["brier"][:, 0], total),
            "log_loss": _ratio(sums["log_loss"][:, 0], total),
            "coverage": _ratio(sums["decided"][:, 0], total),
            "decided_accuracy": _ratio(sums["decided_correct"][:, 0], sums["decided"][:, 0]),
        }

    def _ranked(self, ranking: _Ranking, weights: Floats) -> dict[str, Floats]:
        true, false = ranking.counts(weights)
        positives, negatives = true[:, -1], false[:, -1]
        newly_true, newly_false = np.diff(true, prepend=0.0), np.diff(false, prepend=0.0)
        # Trapezia: positives and negatives of the same score count half.
        area = (newly_false * (true - newly_true / 2.0)).sum(axis=1)
        precision = true / np.maximum(true + false, 1.0)
        found = {
            "auroc": _ratio(area, positives * negatives),
            # Average precision, which does not interpolate between thresholds.
            "auprc": _ratio((newly_true * precision).sum(axis=1), positives),
        }
        for specificity in self._specificities:
            last = self._last_allowed(false, specificity)
            reached = np.take_along_axis(true, np.maximum(last, 0)[:, None], axis=1)[:, 0]
            sensitivity = _ratio(np.where(last >= 0, reached, 0.0), positives)
            found[f"sensitivity@{specificity:g}"] = np.where(negatives > 0, sensitivity, np.nan)
        return found

    @staticmethod
    def _last_allowed(false: Floats, specificity: float) -> Ints:
        """The lowest threshold with few enough false positives, by number; -1 is above all."""
        allowed = (1.0 - specificity) * false[:, -1:] + _ROUNDING
        last: Ints = (false <= allowed).sum(axis=1) - 1
        return last


def _columns(scored: Scored, indeterminate_below: float) -> dict[str, Floats]:
    """What is summed over images, [N, C] by name."""
    N, K = len(scored), scored.classes
    rows = np.arange(N)
    truth = np.zeros((N, K))
    truth[rows, scored.labels] = 1.0
    confusion = np.zeros((N, K * K))
    confusion[rows, scored.labels * K + scored.predicted] = 1.0
    likelihood = scored.probabilities[rows, scored.labels].clip(_LEAST_PROBABILITY, 1.0)
    decided = scored.confidence >= indeterminate_below
    gap = scored.confidence - scored.correct
    return {
        "one": np.ones((N, 1)),
        "confusion": confusion,
        "gap": _by_bin(gap, bins_of_equal_width(scored.confidence)),
        "adaptive_gap": _by_bin(gap, bins_of_equal_mass(scored.confidence)),
        "brier": ((scored.probabilities - truth) ** 2).sum(axis=1, keepdims=True),
        "log_loss": -np.log(likelihood)[:, None],
        "decided": decided[:, None].astype(np.float64),
        "decided_correct": (decided & scored.correct)[:, None].astype(np.float64),
    }


def bins_of_equal_width(confidence: Floats, bins: int = ECE_BINS) -> Ints:
    """Number of each confidence's bin, as in https://arxiv.org/abs/1706.04599, section 2."""
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def bins_of_equal_mass(confidence: Floats, bins: int = ECE_BINS) -> Ints:
    """The same with as many images in each bin, https://arxiv.org/abs/1508.05154."""
    number = np.empty(len(confidence), dtype=np.int64)
    number[np.argsort(confidence, kind="stable")] = (
        np.arange(len(confidence)) * min(bins, len(confidence)) // max(1, len(confidence))
    )
    return number


def _by_bin(values: Floats, number: Ints) -> Floats:
    spread = np.zeros((len(values), ECE_BINS))
    spread[np.arange(len(values)), number] = values
    return spread


def _ratio(part: Floats, whole: Floats) -> Floats:
    ratio: Floats = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole != 0)
    return ratio


def _mean_of_defined(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN."""
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(float))
