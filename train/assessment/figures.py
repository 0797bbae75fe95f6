"""Figures of all classes and of each, with intervals, and reasons where one is not defined."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.manifest import ClassInfo
from train.assessment.bootstrap import Resamples
from train.assessment.curves import (
    confidence_histogram,
    reliability_bins,
    roc_and_precision_recall,
)
from train.assessment.measures import Measures
from train.assessment.schema import (
    Assessment,
    Bootstrap,
    ClassFigures,
    Figure,
    OperatingPoint,
    Overall,
    Slice,
)
from train.assessment.scored import Floats, Scored

Sampled = Mapping[str, tuple[Floats, Floats]]

_NO_IMAGE = "no test image of this class"
_WHY = {
    "precision": "no test image was taken for this class",
    "recall": _NO_IMAGE,
    "f1": "no test image is of this class or was taken for it",
    "auroc": "needs test images of this class and of others",
    "auprc": _NO_IMAGE,
    "kappa": "one class alone occurs and is predicted",
    "decided_accuracy": "every image is Indeterminate",
    "macro_auroc": "one class alone occurs",
}
_NOT_RANKED = "needs test images of this class and of others"


def sampled(measures: Measures, scored: Scored, resamples: Resamples) -> Sampled:
    """The figures [...] and their resampled values [R, ...], by name."""
    exact = measures(np.ones((1, len(scored))))
    drawn = resamples.over(scored.groups, measures)
    return {name: (exact[name][0], drawn[name]) for name in exact}


def figure(name: str, value: float, values: Floats, resamples: Resamples) -> Figure:
    """A figure with its interval."""
    if not np.isfinite(value):
        return Figure(value=None, reason=_WHY.get(name, _NOT_RANKED))
    found = resamples.interval(value, values)
    if isinstance(found, str):
        return Figure(value=value, reason=found)
    return Figure(value=value, low=found[0], high=found[1])


def assess(
    scored: Scored,
    uncalibrated: Scored,
    classes: Sequence[ClassInfo],
    resamples: Resamples,
    settings: Bootstrap,
    indeterminate_below: float,
    specificities: Sequence[float],
    slices: Sequence[Slice] = (),
) -> Assessment:
    """Everything that is said about a classifier's answers for the test images.

    Args:
        scored: calibrated answers for N images, at least one.
        uncalibrated: the same at temperature 1.
        classes: the K classes.
        resamples: of the patients.
        settings: how they were drawn.
        indeterminate_below: confidence under which no answer is given.
        specificities: at which each class's sensitivity is given.
        slices: figures of parts of the images.
    """
    measures = Measures(scored, indeterminate_below, tuple(specificities))
    found = sampled(measures, scored, resamples)
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (scored.labels, scored.predicted), 1)
    curves = {
        info.key: pair
        for k, info in enumerate(classes)
        if (pair := roc_and_precision_recall(scored.labels == k, scored.probabilities[:, k]))
    }
    return Assessment(
        images=len(scored),
        patients=scored.patients,
        bootstrap=settings,
        indeterminate_below=indeterminate_below,
        overall=Overall(
            **{
                name: figure(name, float(found[name][0]), found[name][1], resamples)
                for name in Overall.model_fields
            }
        ),
        classes=[
            _of_class(k, info, scored, measures, found, resamples, specificities)
            for k, info in enumerate(classes)
        ],
        confusion=counts.tolist(),
        confusion_shares=[
            [float(count / row.sum()) if row.any() else None for count in row] for row in counts
        ],
        roc={key: roc for key, (roc, _) in curves.items()},
        precision_recall={key: curve for key, (_, curve) in curves.items()},
        reliability=reliability_bins(scored),
        reliability_uncalibrated=reliability_bins(uncalibrated),
        confidence_histogram=confidence_histogram(scored),
        slices=list(slices),
        warnings=[
            f"the test split has no image of class {info.key}; no figure covers it"
            for row, info in zip(counts, classes, strict=True)
            if not row.any()
        ],
    )


def _of_class(
    k: int,
    info: ClassInfo,
    scored: Scored,
    measures: Measures,
    found: Sampled,
    resamples: Resamples,
    specificities: Sequence[float],
) -> ClassFigures:
    def of(name: str) -> Figure:
        value, values = found[name]
        return figure(name, float(value[k]), values[:, k], resamples)

    members = scored.labels == k
    named: dict[str, Any] = {
        name: of(name) for name in ("precision", "recall", "f1", "auroc", "auprc")
    }
    return ClassFigures(
        key=info.key,
        name=info.name,
        support=int(members.sum()),
        patients=len(np.unique(scored.groups[members])),
        operating_points=[
            OperatingPoint(
                specificity=specificity,
                threshold=measures.threshold(k, specificity),
                sensitivity=of(f"sensitivity@{specificity:g}"),
            )
            for specificity in specificities
        ],
        **named,
    )
