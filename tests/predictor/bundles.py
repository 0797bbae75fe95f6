"""A real bundle, small enough to be made in seconds: random weights, real exports."""

import io
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper
import torch
from PIL import Image

from model.architectures import build
from model.bundle import Bundle, write_bundle
from model.explain import ExplainedClassifier, normalise
from model.image import DecodeRule
from model.manifest import (
    GRAPH_INT8,
    GRAPH_ONNX,
    GRAPH_TORCHSCRIPT,
    Architecture,
    ClassInfo,
    ClassMetrics,
    Difference,
    FileEntry,
    Manifest,
    Metrics,
    Provenance,
    Quantisation,
    Tolerance,
)
from train.export import to_onnx, to_torchscript
from train.quantize import quantise

SIDE_PX = 64
CLASSES = (
    ClassInfo(key="normal", name="Normal", description="No finding.", severity="none"),
    ClassInfo(key="effusion", name="Effusion", description="Fluid.", severity="moderate"),
    ClassInfo(key="nodule", name="Nodule", description="A round opacity.", severity="high"),
)
RULE = DecodeRule(width_px=SIDE_PX, height_px=SIDE_PX)
PROVENANCE = Provenance(
    git_commit=None,
    git_dirty=None,
    config_sha256="0" * 64,
    data_fingerprint="0" * 64,
    split_sha256="0" * 64,
    seed=3,
    versions={},
    hardware="none: random weights",
    trained_seconds=0.0,
    epochs=0,
)


def make_bundle(
    path: Path, name: str = "tiny", bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Bundle:
    """Export a network of random weights and write its bundle, FP32 only.

    Args:
        path: of the bundle.
        name: of the model.
        bias: added to the logits; with a large one every image is of that class.
    """
    graph, layer = _network(bias)
    images = phantoms(6)
    with torch.no_grad():
        logits, probabilities, cam = graph(torch.from_numpy(images))

    def fill(directory: Path) -> None:
        to_torchscript(graph, RULE, directory / GRAPH_TORCHSCRIPT)
        to_onnx(graph, RULE, directory / GRAPH_ONNX)
        np.savez(
            directory / "reference.npz",
            image=images,
            logits=logits.numpy(),
            probabilities=probabilities.numpy(),
            cam=cam.numpy(),
        )

    def describe(files: dict[str, FileEntry]) -> Manifest:
        return _manifest(name, layer, (cam.shape[2], cam.shape[3]), files)

    return write_bundle(path, fill, describe)


def altered(bundle: Bundle, path: Path, alter: Callable[[Path], None]) -> Bundle:
    """A copy whose files were changed before they were checksummed."""

    def fill(directory: Path) -> None:
        for name in bundle.manifest.files:
            shutil.copy(bundle.path / name, directory / name)
        alter(directory)

    def describe(files: dict[str, FileEntry]) -> Manifest:
        values = bundle.manifest.model_dump() | {"files": files}
        if "model.int8.onnx" in files:
            values["quantisation"] = Quantisation(shipped=True, reason="for a test")
            values["tolerance"]["int8"] = Tolerance(probabilities=0.05, cam=0.1)
        return Manifest.model_validate(values)

    return write_bundle(path, fill, describe)


def quantised(bundle: Bundle, path: Path) -> Bundle:
    """A copy with an INT8 artefact, really quantised."""

    def quantise_it(directory: Path) -> None:
        quantise(directory / GRAPH_ONNX, directory / GRAPH_INT8, phantoms(32, seed=1))

    return altered(bundle, path, quantise_it)


def bend_weights(file: Path) -> None:
    """Change an ONNX file so that it loads and answers something else."""
    graph = onnx.load(file)
    for tensor in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.ndim == 4:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * 1.2, tensor.name))
    onnx.save(graph, file)


def phantoms(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Blurred blobs, uint8 [N, H, W, 3], each of another colour."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    pictures = []
    for _ in range(count):
        centre, colour = generator.uniform(16, 48, 2), generator.uniform(60, 255, 3)
        blob = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 200.0)
        pictures.append((blob[..., None] * colour).astype(np.uint8))
    return np.stack(pictures)


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    return _encode(pixels, "PNG")


def jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    return _encode(pixels, "JPEG")


def _encode(pixels: npt.NDArray[np.uint8], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def _network(bias: tuple[float, float, float]) -> tuple[ExplainedClassifier, str]:
    torch.manual_seed(3)
    classifier = build("baseline", len(CLASSES), {"depth": 2, "width": 8}).train()
    for layer in classifier.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        # Without statistics of its own activations an untrained network explains nothing.
        classifier(normalise(torch.from_numpy(phantoms(32, seed=1))))
    classifier.eval()
    last = classifier.head[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        # Random weights hardly tell images apart: centred and louder, each class has its images.
        logits = classifier(normalise(torch.from_numpy(phantoms(32, seed=1))))
        loudness = 2.0 / logits.std(dim=0)
        last.weight.mul_(loudness[:, None])
        last.bias.sub_(logits.mean(dim=0)).mul_(loudness).add_(torch.tensor(bias))
    return ExplainedClassifier(classifier, temperature=1.3).eval(), classifier.explained_layer


def _manifest(name: str, layer: str, cam: tuple[int, int], files: dict[str, FileEntry]) -> Manifest:
    figures = ClassMetrics(precision=0.5, recall=0.5, f1=0.5, auroc=0.5, support=1)
    return Manifest(
        name=name,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        classes=list(CLASSES),
        decode=RULE,
        architecture=Architecture(
            name="baseline",
            options={"depth": 2, "width": 8},
            explained_layer=layer,
            cam_height=cam[0],
            cam_width=cam[1],
        ),
        temperature=1.3,
        tolerance={"fp32": Tolerance(probabilities=1e-3, cam=1e-3)},
        parity={"onnx": Difference(probabilities=0.0, cam=0.0)},
        quantisation=Quantisation(shipped=False, reason="the gate was not tried"),
        metrics=Metrics(
            accuracy=0.5,
            macro_f1=0.5,
            ece=0.1,
            ece_uncalibrated=0.1,
            per_class={info.key: figures for info in CLASSES},
            confusion=[[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            images=3,
        ),
        provenance=PROVENANCE,
        files=files,
    )
