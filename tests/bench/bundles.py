"""Bundles of the networks that are measured: random features, real exports, FP32 and INT8.

The head is fitted to tell the pictures' tints apart: without anything learnt, INT8's rounding would
drown what little random features say.

`python -m tests.bench.bundles resnet50 efficientnet_b0` writes them to `build/bench/bundles`.
"""

import argparse
import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torchvision.models.efficientnet import MBConv
from torchvision.models.resnet import BasicBlock, Bottleneck

from model.architectures import ARCHITECTURES, build
from model.bundle import Bundle, write_bundle
from model.explain import ExplainedClassifier, normalise
from model.image import DecodeRule
from model.manifest import (
    GRAPH_INT8,
    GRAPH_ONNX,
    GRAPH_TORCHSCRIPT,
    REFERENCE,
    Architecture,
    ClassMetrics,
    Difference,
    FileEntry,
    Manifest,
    Metrics,
    Precision,
    Quantisation,
    Tolerance,
)
from tests.predictor.bundles import CLASSES, PROVENANCE
from train import export, quantize
from train.export import to_onnx, to_torchscript
from train.inference import answers_of
from train.quantize import quantise, reference_difference

DIRECTORY = Path("build/bench/bundles")
_TEMPERATURE = 1.3
_SEEN, _REFERENCES = 64, 8
_RESIDUAL = 0.2


def bundle_of(
    architecture: str, side_px: int = 224, *, int8: bool = True, directory: Path = DIRECTORY
) -> Bundle:
    """A network's bundle, from an earlier call if there was one with the same code.

    Args:
        architecture: a key of `model.architectures.ARCHITECTURES`.
        side_px: height and width of the network's input.
        int8: whether an INT8 artefact is shipped. Random weights have no accuracy for the gate to
            judge, so it is shipped as it is, with tolerances of four times its difference here.
        directory: where bundles are kept.
    """
    path = directory / f"{architecture}-{side_px}{'-int8' if int8 else ''}-{_makers()}"
    return Bundle.open(path) if path.is_dir() else _make(path, architecture, side_px, int8)


@cache
def _makers() -> str:
    """Changes with the code that makes a bundle."""
    sources = (__file__, export.__file__, quantize.__file__)
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in sources)).hexdigest()[:8]


def pictures(count: int, side_px: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Smooth, slightly noisy pictures, red, green and blue in turn, uint8 [N, side, side, 3]."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        coarse = generator.integers(0, 128, (6, 6, 3), dtype=np.uint8)
        coarse[..., number % 3] += 100
        smooth = Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC)
        noise = generator.normal(0.0, 4.0, (side_px, side_px, 1))
        made.append(np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8))
    return np.stack(made)


def _make(path: Path, architecture: str, side_px: int, int8: bool) -> Bundle:
    rule = DecodeRule(width_px=side_px, height_px=side_px)
    seen = pictures(_SEEN, side_px)
    graph = _network(architecture, seen)
    references = pictures(_REFERENCES, side_px, seed=1)
    answers = answers_of(graph, references)
    tolerances: dict[Precision, Tolerance] = {"fp32": Tolerance(probabilities=1e-3, cam=1e-3)}

    def fill(files: Path) -> None:
        to_torchscript(graph, rule, files / GRAPH_TORCHSCRIPT)
        to_onnx(graph, rule, files / GRAPH_ONNX)
        np.savez(files / REFERENCE, image=references, **answers._asdict())
        if int8:
            quantise(files / GRAPH_ONNX, files / GRAPH_INT8, seen)
            found = reference_difference(files / GRAPH_INT8, references, answers)
            # Wider than the export's, which hardly any random features would meet.
            tolerances["int8"] = Tolerance(
                probabilities=4.0 * found.probabilities + 0.02, cam=4.0 * found.cam + 0.05
            )

    def describe(files: dict[str, FileEntry]) -> Manifest:
        shape = (int(answers.cam.shape[2]), int(answers.cam.shape[3]))
        layer = graph.classifier.explained_layer
        described = Architecture(
            name=architecture, explained_layer=layer, cam_height=shape[0], cam_width=shape[1]
        )
        return _manifest(described, rule, tolerances, files)

    return write_bundle(path, fill, describe)


def _network(architecture: str, seen: npt.NDArray[np.uint8]) -> ExplainedClassifier:
    torch.manual_seed(3)
    classifier = build(architecture, len(CLASSES)).train()
    for layer in classifier.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = 1.0
    _calm(classifier)
    batch = normalise(torch.from_numpy(seen))
    with torch.no_grad():
        # Statistics of its own activations: without them numbers explode or vanish on the way.
        classifier(batch)
        classifier.eval()
        last = classifier.head[-1]
        assert isinstance(last, nn.Linear)
        pooled = classifier.head[:-1](classifier.features(batch).mean(dim=(2, 3)))
        _fit(last, pooled)
    return ExplainedClassifier(classifier, temperature=_TEMPERATURE).eval()


def _calm(classifier: nn.Module) -> None:
    """Let each residual block add little, as trained ones do.

    Random blocks at full strength amplify every rounding from one to the next: INT8 would be far
    off for no fault of its own. Compare https://arxiv.org/abs/1706.02677, section 5.1.
    """
    for block in classifier.modules():
        if isinstance(block, BasicBlock):
            nn.init.constant_(block.bn2.weight, _RESIDUAL)
        elif isinstance(block, Bottleneck):
            nn.init.constant_(block.bn3.weight, _RESIDUAL)
        elif isinstance(block, MBConv) and block.use_res_connect:
            nn.init.constant_(block.block[-1][1].weight, _RESIDUAL)


def _fit(last: nn.Linear, inputs: torch.Tensor) -> None:
    """Ridge regression of the tints, from [N, C]."""
    targets = 4.0 * torch.eye(3)[torch.arange(len(inputs)) % 3] - 4.0 / 3
    mean = inputs.mean(dim=0)
    centred = inputs - mean
    inner = centred @ centred.T
    ridge = 0.05 * inner.diagonal().mean() * torch.eye(len(inputs))
    weight = (centred.T @ torch.linalg.solve(inner + ridge, targets)).T
    last.weight.copy_(weight)
    last.bias.copy_(targets.mean(dim=0) - weight @ mean)


def _manifest(
    architecture: Architecture,
    rule: DecodeRule,
    tolerances: dict[Precision, Tolerance],
    files: dict[str, FileEntry],
) -> Manifest:
    figures = ClassMetrics(precision=0.0, recall=0.0, f1=0.0, auroc=None, support=0)
    shipped = GRAPH_INT8 in files
    return Manifest(
        name=architecture.name,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        classes=list(CLASSES),
        decode=rule,
        architecture=architecture,
        temperature=_TEMPERATURE,
        tolerance=tolerances,
        parity={"onnx": Difference(probabilities=0.0, cam=0.0)},
        quantisation=Quantisation(shipped=shipped, reason="random weights: for measurements only"),
        metrics=Metrics(
            accuracy=0.0,
            macro_f1=0.0,
            ece=0.0,
            ece_uncalibrated=0.0,
            per_class={info.key: figures for info in CLASSES},
            confusion=[[0, 0, 0], [0, 0, 0], [0, 0, 0]],
            images=0,
        ),
        provenance=PROVENANCE,
        files=files,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write bundles of random weights to measure with.")
    parser.add_argument("architectures", nargs="+", choices=sorted(ARCHITECTURES))
    parser.add_argument("--side_px", type=int, default=224)
    arguments = parser.parse_args()
    for architecture in arguments.architectures:
        bundle = bundle_of(architecture, arguments.side_px)
        print(bundle.path, bundle.manifest.tolerance)


if __name__ == "__main__":
    main()
