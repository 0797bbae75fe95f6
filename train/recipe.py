"""The recipe of a training: network, augmentation and optimisation, as configured."""

from typing import Any, Literal

from pydantic import Field

from train.section import Section


class ModelConfig(Section):
    """Which network."""

    architecture: str = "baseline"
    options: dict[str, Any] = Field(default={}, description="settings of the architecture")


class AugmentConfig(Section):
    """Random changes of training images. No flips: left and right mean something in a chest."""

    translate: float = Field(default=0.06, ge=0.0, le=0.5, description="share of the side")
    rotate_deg: float = Field(default=6.0, ge=0.0, le=180.0)
    scale: float = Field(default=0.10, ge=0.0, le=0.5, description="relative")
    brightness: float = Field(default=0.15, ge=0.0, le=1.0, description="share of the range")
    contrast: float = Field(default=0.20, ge=0.0, lt=1.0, description="relative")
    gamma: float = Field(default=0.20, ge=0.0, lt=1.0, description="relative")


class LoopConfig(Section):
    """The optimisation."""

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=32, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    weight_decay: float = Field(default=0.05, ge=0.0)
    warmup_epochs: float = Field(default=1.0, ge=0.0)
    label_smoothing: float = Field(default=0.05, ge=0.0, lt=1.0)
    clip_norm: float = Field(default=5.0, gt=0.0, description="largest norm of the gradient")
    patience: int = Field(
        default=10,
        ge=1,
        description="epochs without a better macro-F1, or without a lower loss at the same one",
    )
    resume: Literal["auto", "never"] = Field(
        default="auto", description="auto: go on where the same training was interrupted"
    )
    checkpoint_minutes: float = Field(
        default=10.0, ge=0.0, description="between two saves within an epoch; each end is saved too"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    amp: Literal["auto", "off"] = Field(
        default="auto", description="auto: mixed precision on a GPU, single precision on a CPU"
    )
