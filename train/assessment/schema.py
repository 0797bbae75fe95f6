"""What is found about a classifier, as it is written to `evaluation.json`."""

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A part of the file; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(Part):
    """A figure with its confidence interval; what is absent has a reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = Field(
        default=None, description="why the value is absent, or else the interval"
    )

    def rounded(self) -> str:
        """To three digits, with the interval where there is one."""
        if self.value is None:
            return "-"
        if self.low is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


class OperatingPoint(Part):
    """The sensitivity of one class at a specificity; the threshold is chosen on the test split."""

    specificity: float
    threshold: float | None
    sensitivity: Figure


class ClassFigures(Part):
    """Figures of one class against the rest."""

    key: str
    name: str
    support: int = Field(description="test images of this class")
    patients: int
    precision: Figure
    recall: Figure
    f1: Figure
    auroc: Figure
    auprc: Figure = Field(description="average precision; a guess has the share of the class")
    operating_points: list[OperatingPoint]


class Overall(Part):
    """Figures over all classes."""

    accuracy: Figure
    balanced_accuracy: Figure = Field(description="mean recall of the classes that occur")
    macro_f1: Figure = Field(description="mean F1 of the classes that occur")
    macro_auroc: Figure
    kappa: Figure = Field(description="Cohen's")
    ece: Figure = Field(description="expected calibration error, 15 bins of equal width")
    adaptive_ece: Figure = Field(description="the same, 15 bins of as many images each")
    brier: Figure = Field(description="squared error summed over the classes, 0 to 2")
    log_loss: Figure
    coverage: Figure = Field(description="share of images that are not Indeterminate")
    decided_accuracy: Figure = Field(description="accuracy on the images that are not")


class Curve(Part):
    """Points of a curve, joined by lines (ROC) or steps (precision over recall)."""

    x: list[float]
    y: list[float]


class Bin(Part):
    """Images of similar confidence."""

    low: float
    high: float
    images: int
    confidence: float = Field(description="mean")
    accuracy: float


class Bootstrap(Part):
    """How the intervals were made."""

    resamples: int
    confidence: float
    seed: int
    unit: str = Field(description="what is drawn: patient, or image where each has one")
    units: int


class Slice(Part):
    """Figures of the test images with one value of a metadata column."""

    column: str
    value: str
    images: int
    patients: int
    images_per_class: dict[str, int]
    accuracy: Figure
    balanced_accuracy: Figure
    macro_f1: Figure
    macro_auroc: Figure
    coverage: Figure
    below_whole: float | None = Field(
        description="balanced accuracy below that of all images on the same classes"
    )
    p_value: float | None = Field(
        description="of being that far below by chance, corrected for the number of slices (Holm)"
    )
    warnings: list[str]


class Assessment(Part):
    """Figures of a classifier on the test split."""

    images: int
    patients: int
    bootstrap: Bootstrap
    indeterminate_below: float
    overall: Overall
    classes: list[ClassFigures]
    confusion: list[list[int]] = Field(description="rows: true class, columns: predicted")
    confusion_shares: list[list[float | None]] = Field(
        description="of the images of the true class; null where it has none"
    )
    roc: dict[str, Curve] = Field(description="false over true positive rate, by class")
    precision_recall: dict[str, Curve] = Field(description="recall over precision, by class")
    reliability: list[Bin]
    reliability_uncalibrated: list[Bin]
    confidence_histogram: dict[str, list[int]] = Field(
        description="images by confidence in 20 bins from 0 to 1, correct and mistaken"
    )
    slices: list[Slice]
    warnings: list[str]
