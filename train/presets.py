"""How much training images are changed: by the name of a preset, or amount by amount."""

from typing import Literal

from pydantic import Field, model_validator

from train.section import Section

Preset = Literal["none", "light", "strong", "medical"]


class AugmentConfig(Section):
    """Random changes of training images: the amounts of a preset, each of which may be changed."""

    preset: Preset = Field(
        default="medical",
        description="none; light; strong; or medical, which never exchanges left and right: they "
        "mean something in a chest",
    )
    translate: float | None = Field(default=None, ge=0.0, le=0.5, description="share of the side")
    rotate_deg: float | None = Field(default=None, ge=0.0, le=180.0)
    scale: float | None = Field(default=None, ge=0.0, le=0.5, description="relative")
    brightness: float | None = Field(default=None, ge=0.0, le=1.0, description="share of the range")
    contrast: float | None = Field(default=None, ge=0.0, lt=1.0, description="relative")
    gamma: float | None = Field(default=None, ge=0.0, lt=1.0, description="relative")
    flip: float | None = Field(
        default=None, ge=0.0, le=1.0, description="share of images mirrored left to right"
    )
    erase: float | None = Field(
        default=None, ge=0.0, le=1.0, description="share of images that lose a rectangle"
    )
    blur: float | None = Field(default=None, ge=0.0, le=1.0, description="share of images blurred")
    mixup: float = Field(
        default=0.0,
        ge=0.0,
        description="alpha of mixup, https://arxiv.org/abs/1710.09412; 0: none. With cutmix, each "
        "batch has one of the two",
    )
    cutmix: float = Field(
        default=0.0,
        ge=0.0,
        description="alpha of cutmix, https://arxiv.org/abs/1905.04899; 0: none",
    )

    @model_validator(mode="after")
    def _laterality(self) -> "AugmentConfig":
        if self.preset == "medical" and self.flip:
            raise ValueError(
                f"augment.flip is {self.flip:g}, but augment.preset is 'medical', in which left "
                "and right mean something; another preset may flip"
            )
        return self

    def amount(self, name: str) -> float:
        """The amount that is set, else the preset's."""
        value: float | None = getattr(self, name)
        return PRESETS[self.preset].get(name, 0.0) if value is None else value


PRESETS: dict[Preset, dict[str, float]] = {
    "none": {},
    "light": {
        "translate": 0.04,
        "rotate_deg": 5.0,
        "scale": 0.05,
        "brightness": 0.1,
        "contrast": 0.1,
        "gamma": 0.1,
        "flip": 0.5,
    },
    "strong": {
        "translate": 0.12,
        "rotate_deg": 20.0,
        "scale": 0.25,
        "brightness": 0.25,
        "contrast": 0.35,
        "gamma": 0.35,
        "flip": 0.5,
        "erase": 0.25,
        "blur": 0.2,
    },
    "medical": {
        "translate": 0.06,
        "rotate_deg": 6.0,
        "scale": 0.10,
        "brightness": 0.15,
        "contrast": 0.20,
        "gamma": 0.20,
    },
}
