"""What can be chosen about a phantom."""

from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, Field, model_validator

Label = Literal["normal", "nodule", "infiltrate"]
Severity = Literal["none", "low", "moderate", "high"]


class PhantomClass(NamedTuple):
    key: Label
    name: str
    description: str
    severity: Severity


CLASSES: tuple[PhantomClass, ...] = (
    PhantomClass("normal", "Normal", "Both lungs are clear; nothing unusual is seen.", "none"),
    PhantomClass(
        "nodule", "Nodule", "A small, round spot with a clear border in the lung.", "high"
    ),
    PhantomClass(
        "infiltrate",
        "Infiltrate",
        "A patchy, cloudy area in the lung, as in pneumonia.",
        "moderate",
    ),
)


class Balance(BaseModel, extra="forbid", frozen=True):
    """Relative frequency of each class among the images."""

    normal: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    nodule: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    infiltrate: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class PhantomConfig(BaseModel, extra="forbid", frozen=True):
    """The same values give the same bytes, whatever `processes` is."""

    images: int = Field(default=1_200, ge=3, le=1_000_000)
    seed: int = Field(default=0, ge=0)
    balance: Balance = Balance()
    min_size_px: int = Field(default=512, ge=64, le=8_192)
    max_size_px: int = Field(default=2_048, ge=64, le=8_192)
    processes: int | None = Field(
        default=None, ge=1, description="None: one for each available CPU"
    )

    @model_validator(mode="after")
    def _sizes_in_order(self) -> Self:
        if self.max_size_px < self.min_size_px:
            raise ValueError(
                f"max_size_px is {self.max_size_px}; "
                f"accepted: at least min_size_px, which is {self.min_size_px}"
            )
        return self

    def identity(self) -> dict[str, object]:
        """The fields that decide what is generated."""
        return self.model_dump(mode="json", exclude={"processes"})
