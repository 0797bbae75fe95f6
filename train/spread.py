"""What the folds of a cross-validation say together."""

from collections.abc import Sequence
from statistics import fmean, stdev

from pydantic import BaseModel, ConfigDict, Field

from model.manifest import Metrics


class Spread(BaseModel):
    """A figure over the folds; `sd` is the standard deviation of a sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float
    sd: float
    folds: list[float]


class CrossValidation(BaseModel):
    """What K folds say together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folds: int
    data_fingerprint: str
    figures: dict[str, Spread] = Field(description="of the test parts, by name")
    pooled: Metrics = Field(
        description="of all images at once, each answered by the network that has not seen it"
    )


def spread(folds: Sequence[dict[str, float]]) -> dict[str, Spread]:
    """Mean and standard deviation of every figure that all folds have."""
    names = [name for name in folds[0] if all(name in each for each in folds)]
    columns = {name: [each[name] for each in folds] for name in names}
    return {
        name: Spread(mean=fmean(column), sd=stdev(column), folds=column)
        for name, column in columns.items()
    }


def describe(summary: CrossValidation) -> str:
    """The summary as a table."""
    width = max(len(name) for name in summary.figures)
    heads = "".join(f"{f'fold {number}':>9}" for number in range(summary.folds))
    lines = [f"\n  {'':{width}}      mean        sd{heads}"]
    lines += [
        f"  {name:{width}}  {each.mean:8.3f}  {each.sd:8.3f}"
        + "".join(f"{value:9.3f}" for value in each.folds)
        for name, each in summary.figures.items()
    ]
    pooled = summary.pooled
    lines.append(
        f"all {pooled.images} images, each answered by the network that has not seen it: accuracy "
        f"{pooled.accuracy:.3f}, macro-F1 {pooled.macro_f1:.3f}, calibration error {pooled.ece:.3f}"
    )
    return "\n".join(lines)
