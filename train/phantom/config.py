"""What can be chosen about a phantom."""

from typing import Literal, Self, get_args

from pydantic import BaseModel, Field, model_validator

from model.manifest import ClassInfo

Label = Literal["normal", "nodule", "infiltrate"]
LABELS: tuple[Label, ...] = get_args(Label)

CLASSES: tuple[ClassInfo, ...] = (
    ClassInfo(
        key="normal",
        name="Normal",
        description="Both lungs are clear; nothing unusual is seen.",
        severity="none",
    ),
    ClassInfo(
        key="nodule",
        name="Nodule",
        description="A small, round spot with a clear border in the lung.",
        severity="high",
    ),
    ClassInfo(
        key="infiltrate",
        name="Infiltrate",
        description="A patchy, cloudy area in the lung, as in pneumonia.",
        severity="moderate",
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
