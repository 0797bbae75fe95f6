"""Weights of another training in a network: what of them fits."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from model.architectures import Classifier
from train.backbones import translated
from train.errors import ConfigError
from train.recipe import ModelConfig
from train.weights import Weights

# Wrappers put their own name before those of what they wrap.
_WRAPPERS = ("", "module.", "_orig_mod.", "model.", "network.", "classifier.")
_SHOWN = 5


@dataclass(frozen=True)
class Fit:
    """What of a file a network has taken over.

    Attributes:
        source: of the weights.
        sha256: of the file.
        loaded: tensors taken over.
        expected: tensors that the network has, counters left out.
        missing: names that the file has not.
        unexpected: names that the network has not.
        mismatched: by name, the shapes in the file and in the network.
        classes: of the file, where they are not as many as the network's: its last layer begins
            anew.
    """

    source: str
    sha256: str
    loaded: int
    expected: int
    missing: list[str]
    unexpected: list[str]
    mismatched: dict[str, tuple[list[int], list[int]]]
    classes: int | None

    def describe(self) -> str:
        """Lines for the console."""
        lines = [f"weights from {self.source}: {self.loaded} of {self.expected} tensors fit"]
        if self.classes is not None:
            lines.append(f"  it has {self.classes} classes: the last layer begins anew")
        shapes = [f"{name} {theirs} for {ours}" for name, (theirs, ours) in self.mismatched.items()]
        for what, names in (
            ("missing in it", self.missing),
            ("not of this network", self.unexpected),
            ("of another shape", shapes),
        ):
            if names:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                lines.append(f"  {what}: {', '.join(names[:_SHOWN])}{more}")
        return "\n".join(lines)


def initialise(network: Classifier, model: ModelConfig, weights: Weights) -> Fit:
    """Put weights into a network, as far as they fit.

    Raises:
        ConfigError: not even half of the backbone fits: they are of another architecture.
    """
    own = network.state_dict()
    state = _named_alike(own, model.architecture, weights.state)
    last = f"head.{len(network.head) - 1}"
    fitting, mismatched, classes = {}, {}, None
    for name, tensor in state.items():
        if name not in own:
            continue
        if own[name].shape == tensor.shape:
            fitting[name] = tensor
        elif name.startswith(f"{last}."):
            classes = len(tensor)
        else:
            mismatched[name] = (list(tensor.shape), list(own[name].shape))
    if classes is not None:
        # Weights and biases belong together, whatever shape either has.
        fitting = {k: v for k, v in fitting.items() if not k.startswith(f"{last}.")}
    expected = [name for name in own if not name.endswith("num_batches_tracked")]
    backbone = [name for name in expected if name.startswith("features.")]
    fit = Fit(
        source=weights.source,
        sha256=weights.sha256,
        loaded=sum(name in fitting for name in expected),
        expected=len(expected),
        missing=[name for name in expected if name not in state],
        unexpected=[name for name in state if name not in own],
        mismatched=mismatched,
        classes=classes,
    )
    found = sum(name in fitting for name in backbone)
    if 2 * found < len(backbone):
        raise ConfigError(
            f"model.weights is {model.weights!r}, which does not fit model.architecture "
            f"{model.architecture}: {found} of the {len(backbone)} tensors of its backbone\n"
            f"{fit.describe()}"
        )
    network.load_state_dict(fitting, strict=False)
    return fit


def _named_alike(
    own: Mapping[str, Tensor], architecture: str, state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The state under names of ours: from a file of this project, of torchvision, or a wrapper."""
    candidates = []
    for wrapper in _WRAPPERS:
        plain = {k.removeprefix(wrapper): v for k, v in state.items() if k.startswith(wrapper)}
        candidates += [plain, translated(architecture, plain)]
    return max(candidates, key=lambda names: len(own.keys() & names.keys()))
