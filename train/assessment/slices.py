"""Figures by slice: the test images with one value of a metadata column, or one band of it."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from model.manifest import ClassInfo
from train.assessment.bootstrap import Resamples
from train.assessment.figures import Sampled, figure, sampled
from train.assessment.measures import Measures
from train.assessment.schema import Figure, Slice
from train.assessment.scored import Bools, Floats, Ints, Scored
from train.data import Sample
from train.errors import DataError
from train.reporting import SliceConfig

MISSING = "(missing)"
# How tables write that there is nothing.
_ABSENT = ("nan", "none", "null", "<na>")
# With fewer, figures say nothing, and may tell what was found in one patient.
_FEWEST_IMAGES = 5
# Resamples of fewer are hardly different from each other.
_FEW_PATIENTS = 10
# More values than this are bands of numbers, or no categories at all.
_MOST_VALUES = 20
_MOST_NUMBERS = 12
_USUAL_QUANTILES = 4
_FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "coverage")
_SIGNIFICANT = 0.05

Strings = npt.NDArray[np.str_]


def check_slices(configs: Sequence[SliceConfig], samples: Sequence[Sample]) -> None:
    """Refuse columns that cannot be sliced, before anything is trained.

    Raises:
        DataError: a column has too many values, or no number where bands are asked for.
    """
    for config in configs:
        bands_of(config, samples)


def bands_of(config: SliceConfig, samples: Sequence[Sample]) -> tuple[list[str], Strings]:
    """The names of a column's slices in order, and the slice of each sample, [N].

    A column of numbers is cut at the configured edges, or at quantiles of all samples; one of few
    different values is taken as it is.

    Raises:
        DataError: see :func:`check_slices`.
    """
    cells = [_known(sample.metadata.get(config.column, "")) for sample in samples]
    numbers = np.array([_number(cell) for cell in cells])
    numeric = np.isfinite(numbers)
    values = sorted(set(cells) - {""})
    all_numbers = all(math.isfinite(_number(value)) for value in values)
    banded = config.edges or config.quantiles
    if banded and not numeric.any():
        raise DataError(
            f"evaluate.slices: column {config.column} has no number to cut into bands; "
            f"it has: {', '.join(values[:5])}"
        )
    if banded or (all_numbers and len(values) > _MOST_NUMBERS):
        edges = config.edges or _quantiles(numbers[numeric], config.quantiles or _USUAL_QUANTILES)
        names = _names_of_bands(edges)
        band = np.searchsorted(edges, np.where(numeric, numbers, edges[0]), side="right")
        told = np.where(numeric, np.array(names)[band], MISSING)
    elif len(values) > _MOST_VALUES:
        raise DataError(
            f"evaluate.slices: column {config.column} has {len(values)} different values; "
            f"at most {_MOST_VALUES} categories can be told apart. Numbers among words need edges "
            "or quantiles; a column that names patients does not belong into a report"
        )
    else:
        names = sorted(values, key=lambda value: (_number(value), value)) if all_numbers else values
        told = np.array([cell or MISSING for cell in cells])
    return [name for name in [*names, MISSING] if (told == name).any()], told


def assess_slices(
    scored: Scored,
    samples: Sequence[Sample],
    test: Ints,
    classes: Sequence[ClassInfo],
    resamples: Resamples,
    configs: Sequence[SliceConfig],
    indeterminate_below: float,
    fewest_images: int,
) -> list[Slice]:
    """Figures of every slice of the test split.

    Whether a slice is worse than the whole is judged by its balanced accuracy, which does not
    depend on how frequent the classes are in it, against that of all images on the classes that
    the slice has. Both vary together over the resamples; their difference is compared with its
    standard error, and the p-values are corrected for the number of slices by Holm's method.

    Args:
        scored: calibrated answers for the N test images.
        samples: all samples; bands are cut by all of them.
        test: positions of the test images among them, [N].
        classes: the K classes.
        resamples: of the patients.
        configs: which columns.
        indeterminate_below: confidence under which no answer is given.
        fewest_images: a slice of fewer is called too small.
    """
    whole = sampled(Measures(scored, indeterminate_below, ()), scored, resamples)
    found: list[Slice] = []
    for config in configs:
        names, told = bands_of(config, samples)
        for name in names:
            inside = told[test] == name
            if inside.any():
                found.append(
                    _slice(config.column, name, scored, inside, classes, resamples, whole,
                           indeterminate_below, fewest_images)
                )  # fmt: skip
    return _with_verdicts(found)


def _slice(
    column: str,
    name: str,
    scored: Scored,
    inside: Bools,
    classes: Sequence[ClassInfo],
    resamples: Resamples,
    whole: Sampled,
    indeterminate_below: float,
    fewest_images: int,
) -> Slice:
    part = scored.only(inside)
    images, below, p_value = len(part), None, None
    warnings = []
    if images < _FEWEST_IMAGES:
        reason = f"fewer than {_FEWEST_IMAGES} images"
        figures = dict.fromkeys(_FIGURES, Figure(value=None, reason=reason))
        warnings.append("too few images for any figure")
    else:
        found = sampled(Measures(part, indeterminate_below, ()), part, resamples)
        figures = {
            key: figure(key, float(found[key][0]), found[key][1], resamples) for key in _FIGURES
        }
        below, p_value = _below(found, whole)
        if images < fewest_images or part.patients < _FEW_PATIENTS:
            of = f"{images} images of {part.patients} patients"
            warnings.append(f"{of}: too few to rely on")
    return Slice(
        column=column,
        value=name,
        images=images,
        patients=part.patients,
        images_per_class={
            info.key: int((part.labels == k).sum()) for k, info in enumerate(classes)
        },
        below_whole=below,
        p_value=p_value,
        warnings=warnings,
        **figures,
    )


def _below(found: Sampled, whole: Sampled) -> tuple[float | None, float | None]:
    """How far a slice's balanced accuracy is below the whole's, and the one-sided p-value."""
    (recall, recalls), (all_recall, all_recalls) = found["recall"], whole["recall"]
    occurs = np.isfinite(recall)
    difference = float(np.mean(all_recall[occurs] - recall[occurs]))
    drawn = (all_recalls - recalls)[:, occurs]
    defined = drawn[np.isfinite(drawn).all(axis=1)].mean(axis=1)
    if len(defined) < len(drawn) / 2:
        return difference, None
    error = float(defined.std(ddof=1))
    return difference, float(ndtr(-difference / error)) if error > 0 else None


def _with_verdicts(slices: list[Slice]) -> list[Slice]:
    tested = [number for number, each in enumerate(slices) if each.p_value is not None]
    corrected = holm([float(slices[number].p_value or 0.0) for number in tested])
    verdicts = dict(zip(tested, corrected, strict=True))
    told = []
    for number, each in enumerate(slices):
        p_value, warnings = verdicts.get(number), [*each.warnings]
        if p_value is not None and p_value < _SIGNIFICANT:
            warnings.append(
                f"balanced accuracy {each.below_whole:.3f} below that of all images on the same "
                f"classes, more than chance explains (p = {p_value:.2g})"
            )
        told.append(each.model_copy(update={"p_value": p_value, "warnings": warnings}))
    return told


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, https://www.jstor.org/stable/4615733."""
    order = np.argsort(p_values)
    corrected, highest = np.zeros(len(p_values)), 0.0
    for rank, number in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[number]))
        corrected[number] = highest
    return [float(value) for value in corrected]


def _known(cell: str) -> str:
    return "" if cell.lower() in _ABSENT else cell


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _quantiles(numbers: Floats, count: int) -> list[float]:
    edges = np.unique(np.quantile(numbers, np.arange(1, count) / count, method="nearest"))
    return [float(edge) for edge in edges]


def _names_of_bands(edges: Sequence[float]) -> list[str]:
    between = [f"{low:g} to under {high:g}" for low, high in itertools.pairwise(edges)]
    return [f"under {edges[0]:g}", *between, f"{edges[-1]:g} and over"]
