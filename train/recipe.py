"""The recipe of a training: network and optimisation, as configured."""

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from train.backbones import PREFIXES
from train.section import Section

Monitor = Literal["macro_f1", "balanced_accuracy", "accuracy", "auroc", "val_loss"]


class ModelConfig(Section):
    """Which network."""

    architecture: str = "baseline"
    options: dict[str, Any] = Field(default={}, description="settings of the architecture")
    weights: str = Field(
        default="none",
        min_length=1,
        description="what training begins with: none; imagenet, as torchvision publishes them; a "
        "file; or models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN/PATH of MLflow",
    )

    @model_validator(mode="after")
    def _published(self) -> "ModelConfig":
        if self.weights == "imagenet" and self.architecture not in PREFIXES:
            raise ValueError(
                f"model.weights is 'imagenet', but model.architecture is {self.architecture!r}; "
                f"there are such weights of {', '.join(PREFIXES)}"
            )
        return self


class LoopConfig(Section):
    """The optimisation."""

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=32, ge=2)
    accumulate: int = Field(
        default=1, ge=1, description="batches whose gradients are summed up to one step"
    )
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0.0)
    weight_decay: float = Field(default=0.05, ge=0.0)
    momentum: float | None = Field(default=None, ge=0.0, lt=1.0, description="of sgd; else 0.9")
    nesterov: bool | None = Field(default=None, description="of sgd; else true")
    schedule: Literal["cosine", "one_cycle", "step", "plateau", "constant"] = Field(
        default="cosine", description="of the learning rate, after the warm-up"
    )
    warmup_epochs: float = Field(
        default=1.0, ge=0.0, description="in which the learning rate rises; may be a fraction"
    )
    decay_epochs: int | None = Field(
        default=None, ge=1, description="of schedule step: epochs between two decays; else 10"
    )
    decay_factor: float | None = Field(
        default=None, gt=0.0, lt=1.0, description="of schedules step and plateau; else 0.1"
    )
    plateau_patience: int | None = Field(
        default=None, ge=1, description="of schedule plateau: epochs without a better one; else 3"
    )
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float | None = Field(default=None, gt=0.0, description="of loss focal; else 2")
    label_smoothing: float = Field(default=0.05, ge=0.0, lt=1.0)
    class_weights: Literal["none", "balanced", "effective"] | dict[str, float] = Field(
        default="none",
        description="in the loss: none; balanced, inverse to the images of a class; effective, "
        "inverse to their effective number; or the weight of each class by its key",
    )
    effective_beta: float | None = Field(
        default=None, gt=0.0, lt=1.0, description="of class_weights effective; else 0.999"
    )
    sampler: Literal["shuffle", "balanced"] = Field(
        default="shuffle",
        description="shuffle: each image once an epoch; balanced: drawn with replacement, each "
        "class as often as the others",
    )
    ema_decay: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="share of the average of the weights that a step keeps, such as 0.999; the "
        "average is what is judged and kept; null: none is taken",
    )
    freeze_epochs: int = Field(
        default=0, ge=0, description="first epochs, in which only the head learns"
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0.0,
        le=1.0,
        description="learning rate of a layer, as share of that of the layer above it",
    )
    clip_norm: float | None = Field(
        default=5.0, gt=0.0, description="largest norm of the gradient; null: it is not clipped"
    )
    monitor: Monitor = Field(
        default="macro_f1",
        description="figure on validation that says which epoch is the best; the largest, or the "
        "lowest val_loss, which also decides between equals",
    )
    patience: int = Field(
        default=10, ge=1, description="epochs without a better one after which training ends"
    )
    resume: Literal["auto", "once", "never"] = Field(
        default="auto",
        description="auto: go on where the same training was interrupted; once: the same, and a "
        "training that has come to its end is left as it is",
    )
    checkpoint_minutes: float = Field(
        default=10.0, ge=0.0, description="between two saves within an epoch; each end is saved too"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    sync_batchnorm: bool = Field(
        default=False,
        description="several processes on GPUs: batch normalisation over the images of all",
    )
    amp: Literal["auto", "off", "bf16", "fp16"] = Field(
        default="auto",
        description="mixed precision; auto: what a GPU is best at, and none on a CPU",
    )
    channels_last: bool = Field(
        default=True, description="memory format in which most convolutions are faster"
    )
    compile: bool = Field(default=False, description="torch.compile; where it fails, go on without")
    deterministic: bool = Field(
        default=False, description="only operations that give the same answer each time"
    )

    @model_validator(mode="after")
    def _fitting(self) -> "LoopConfig":
        owners = {
            "momentum": ("optimiser", ("sgd",)),
            "nesterov": ("optimiser", ("sgd",)),
            "decay_epochs": ("schedule", ("step",)),
            "decay_factor": ("schedule", ("step", "plateau")),
            "plateau_patience": ("schedule", ("plateau",)),
            "focal_gamma": ("loss", ("focal",)),
            "effective_beta": ("class_weights", ("effective",)),
        }
        for key, (owner, kinds) in owners.items():
            value, kind = getattr(self, key), getattr(self, owner)
            if value is not None and kind not in kinds:
                raise ValueError(
                    f"loop.{key} is {value!r}, but loop.{owner} is {kind!r}; "
                    f"{key} belongs to {' and '.join(kinds)}"
                )
        if isinstance(self.class_weights, dict):
            for key, weight in self.class_weights.items():
                if not 0.0 < weight < math.inf:
                    raise ValueError(
                        f"loop.class_weights.{key} is {weight:g}; it must be greater than 0"
                    )
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("loop.nesterov is true, but loop.momentum is 0.0; it needs some")
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"loop.warmup_epochs is {self.warmup_epochs:g}, but loop.epochs is {self.epochs}; "
                "the warm-up would not end"
            )
        if self.freeze_epochs >= self.epochs:
            raise ValueError(
                f"loop.freeze_epochs is {self.freeze_epochs}, but loop.epochs is {self.epochs}; "
                "the backbone would never learn"
            )
        if self.schedule == "one_cycle" and self.warmup_epochs == 0.0:
            raise ValueError(
                "loop.warmup_epochs is 0, but loop.schedule is 'one_cycle', whose first part is "
                "the warm-up; about 30 % of the epochs is usual"
            )
        if self.schedule == "plateau" and (self.plateau_patience or 3) >= self.patience:
            raise ValueError(
                f"loop.plateau_patience is {self.plateau_patience or 3}, but loop.patience is "
                f"{self.patience}: training would end before the learning rate is lowered"
            )
        if self.sampler == "balanced" and self.class_weights != "none":
            raise ValueError(
                f"loop.class_weights is {self.class_weights!r}, but loop.sampler is 'balanced': "
                "rare classes would count twice over; choose one"
            )
        return self
