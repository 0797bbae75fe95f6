"""A trained network to TorchScript and ONNX, each checked against the eager network."""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import nn

from model.errors import SightlineError
from model.explain import ExplainedClassifier, normalise
from model.image import DecodeRule
from model.manifest import Difference
from model.parity import difference
from train.inference import BATCH, Answers

OPSET = 18
# How far an exported graph may be from the eager network; further off, the export is broken.
LARGEST_DIFFERENCE = Difference(probabilities=1e-4, cam=1e-3)
# How far the closed form may be from autograd, both eager.
LARGEST_CAM_DIFFERENCE = 5e-5


class ExportError(SightlineError):
    """An exported graph does not answer as the network does."""


def to_torchscript(graph: ExplainedClassifier, rule: DecodeRule, file: Path) -> nn.Module:
    """Trace, freeze and save; TorchScript is deprecated upstream, so it is met only here."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", category=FutureWarning)
        warnings.simplefilter("ignore", category=DeprecationWarning)
        traced = torch.jit.trace(graph, (_example(rule),), check_trace=False)  # type: ignore[no-untyped-call]
        frozen = torch.jit.freeze(traced)
        torch.jit.save(frozen, file)
        module: nn.Module = torch.jit.load(file)  # type: ignore[no-untyped-call]
    return module


def to_onnx(graph: ExplainedClassifier, rule: DecodeRule, file: Path) -> None:
    """Export with a dynamic batch and check the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            (_example(rule),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits", "probabilities", "cam"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1, max=4096)}},
            verbose=False,
        )
    if program is None:
        raise ExportError("the ONNX exporter returned nothing")
    program.save(file, external_data=False)
    onnx.checker.check_model(file, full_check=True)


def onnx_answers(file: Path, images: npt.NDArray[np.uint8]) -> Answers:
    """Answers of an ONNX file in ONNX Runtime on the CPU."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    parts = [
        session.run(["logits", "probabilities", "cam"], {"image": images[start : start + BATCH]})
        for start in range(0, len(images), BATCH)
    ]
    return Answers(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def compare(answers: Answers, reference: Answers) -> Difference:
    return difference(answers.probabilities, answers.cam, reference.probabilities, reference.cam)


def check_parity(name: str, found: Difference) -> Difference:
    """Refuse an artefact that answers differently from the eager network."""
    limit = LARGEST_DIFFERENCE
    if not (found.probabilities <= limit.probabilities and found.cam <= limit.cam):
        raise ExportError(
            f"{name} differs from the eager network by {found.probabilities:.2e} (probabilities) "
            f"and {found.cam:.2e} (CAM); at most {limit.probabilities:.0e} and {limit.cam:.0e} "
            "are accepted"
        )
    return found


def autograd_cam(graph: ExplainedClassifier, images: npt.NDArray[np.uint8]) -> Answers:
    """The same answers by the definition of Grad-CAM, with autograd through the head."""
    network = graph.classifier
    with torch.no_grad():
        features = network.features(normalise(torch.from_numpy(images)))
    features.requires_grad_(True)
    logits = network.head(features.mean(dim=(2, 3)))
    maps = []
    for k in range(logits.shape[1]):
        (gradient,) = torch.autograd.grad(logits[:, k].sum(), features, retain_graph=True)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        maps.append(torch.relu((weights * features).sum(dim=1)))
    probabilities = torch.softmax(logits / graph.temperature, dim=1)
    cam = torch.stack(maps, dim=1)
    return Answers(*(t.detach().numpy() for t in (logits, probabilities, cam)))


def reference_images(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    count: int,
    averaged: int,
    seed: int,
) -> npt.NDArray[np.uint8]:
    """Inputs of the self-test: averages of several training images of one class each.

    They are near enough to real images to exercise the network, and show nobody's.

    Args:
        images: training images, uint8 [N, H, W, 3].
        labels: their classes, [N].
        count: how many to make; the classes take turns.
        averaged: images in one average.
        seed: which images are drawn.
    """
    generator = np.random.default_rng(seed)
    present = np.unique(labels)
    made = []
    for number in range(count):
        members = np.flatnonzero(labels == present[number % len(present)])
        chosen = generator.choice(members, size=min(averaged, len(members)), replace=False)
        made.append(np.rint(images[np.sort(chosen)].mean(axis=0)).astype(np.uint8))
    return np.stack(made)


def _example(rule: DecodeRule) -> torch.Tensor:
    # A batch of two: tracing with one would bake the size in as a broadcast.
    return torch.full((2, rule.height_px, rule.width_px, 3), 128, dtype=torch.uint8)
