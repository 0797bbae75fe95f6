"""What a loop is given to train, alike for all of them."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """The same for every loop that is compared, but for what says otherwise.

    Attributes:
        root: images, a folder per class below `train`, `val` and `test`.
        scratch: directory for whatever the loop writes.
        network: a key of `model.architectures.ARCHITECTURES`.
        options: of the network.
        side_px: of its input.
        batch: images per step.
        epochs: of the learning rate's schedule; no loop is asked for more.
        learning_rate: of AdamW.
        warmup_epochs: that it rises for.
        device: `cpu` or `cuda`.
        amp: whether in mixed precision.
        compiled: whether through `torch.compile`; ours only.
        workers: processes that load images; the rivals only, ours has none.
        least_area: of the rivals' random crops, as a share of the image.
        augment: whether ours changes the images.
        decode_always: whether ours reads the files anew in every epoch.
        judged: whether validation counts as part of an epoch.
        checkpoint_s: between two saves, where ours is to save more than usually and to tell each
            step.
    """

    root: str
    scratch: str
    network: str
    options: dict[str, Any] = field(default_factory=dict)
    side_px: int = 224
    batch: int = 32
    epochs: int = 10_000
    learning_rate: float = 1e-3
    warmup_epochs: int = 1
    device: str = "cpu"
    amp: bool = False
    compiled: bool = False
    workers: int = 0
    # The default of torchvision's and of timm's random crop.
    least_area: float = 0.08
    augment: bool = True
    decode_always: bool = False
    judged: bool = False
    checkpoint_s: float | None = None
