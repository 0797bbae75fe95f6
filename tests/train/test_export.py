import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional as F

from model.architectures import ARCHITECTURES, build
from model.bundle import Bundle
from model.explain import ExplainedClassifier, normalise
from model.image import DecodeRule
from model.manifest import GRAPH_INT8, GRAPH_ONNX, GRAPH_TORCHSCRIPT, Difference
from train.export import (
    ExportError,
    autograd_cam,
    check_parity,
    compare,
    onnx_answers,
    reference_images,
    to_onnx,
    to_torchscript,
)
from train.inference import answers_of
from train.quantize import judge, quantise, tolerance
from train.run import Run

RULE = DecodeRule(width_px=80, height_px=64)


def images(count: int, width: int = 80, height: int = 64) -> np.ndarray:
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    large = F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1) * 255
    return large.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()


def graph_of(name: str) -> ExplainedClassifier:
    torch.manual_seed(3)
    network = build(name, 3).train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network(normalise(torch.from_numpy(images(8))))
    return ExplainedClassifier(network, temperature=1.7).eval()


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_artefact_answers_as_the_network_at_any_batch(name: str, tmp_path: Path) -> None:
    graph = graph_of(name)
    traced = to_torchscript(graph, RULE, tmp_path / "model.ts")
    to_onnx(graph, RULE, tmp_path / "model.onnx")
    for count in (1, 5):
        batch = images(count)
        eager = answers_of(graph, batch)
        for answers in (answers_of(traced, batch), onnx_answers(tmp_path / "model.onnx", batch)):
            found = compare(answers, eager)
            assert found.probabilities <= 1e-4
            assert found.cam <= 1e-3
        assert compare(eager, autograd_cam(graph, batch)).cam <= 5e-5
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["model.onnx", "model.ts"]


def test_the_onnx_signature_is_the_contract(exported: Run) -> None:
    file = exported.bundle_path / GRAPH_ONNX
    assert onnx.load(file).opset_import[0].version >= 18
    session = onnxruntime.InferenceSession(file)
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("image", "tensor(uint8)", ["batch", 64, 64, 3])
    outputs = {out.name: (out.type, len(out.shape)) for out in session.get_outputs()}
    assert outputs == {
        "logits": ("tensor(float)", 2),
        "probabilities": ("tensor(float)", 2),
        "cam": ("tensor(float)", 4),
    }
    assert all(out.shape[0] == "batch" for out in session.get_outputs())


def test_the_torchscript_file_is_read_without_our_code(exported: Run) -> None:
    module = torch.jit.load(  # type: ignore[no-untyped-call]
        exported.bundle_path / GRAPH_TORCHSCRIPT
    )
    batch = torch.from_numpy(images(2, 64, 64))
    logits, probabilities, cam = module(batch)
    assert torch.allclose(probabilities.sum(1), torch.ones(2), atol=1e-5)
    assert cam.shape[:2] == logits.shape == (2, 3)


def test_the_bundle_is_whole_and_says_how_it_was_made(exported: Run) -> None:
    bundle = Bundle.open(exported.bundle_path)
    bundle.verify()
    manifest = bundle.manifest
    assert manifest.class_keys == ["plain", "disc", "bars"]
    assert manifest.parity["torchscript"].probabilities <= 1e-4
    assert manifest.parity["onnx"].probabilities <= 1e-4
    assert manifest.parity["autograd"].cam <= 5e-5
    assert manifest.provenance.data_fingerprint == exported.data.fingerprint
    assert manifest.provenance.versions["torch"] == torch.__version__.split("+")[0]
    assert (
        manifest.temperature
        == json.loads((exported.path / "evaluation.json").read_text())["temperature"]
    )
    assert {
        f"report/{name}" for name in ("report.html", "MODEL_CARD.md", "evaluation.json")
    } <= set(manifest.files)


def test_reference_answers_are_those_of_the_fp32_graph(exported: Run) -> None:
    bundle = Bundle.open(exported.bundle_path)
    reference = bundle.reference()
    answers = onnx_answers(bundle.path / GRAPH_ONNX, reference.image)
    assert np.abs(answers.probabilities - reference.probabilities).max() < 1e-4
    assert reference.image.shape == (3, 64, 64, 3)


def test_reference_images_show_no_training_image() -> None:
    batch, labels = images(12), np.arange(12) % 3
    made = reference_images(batch, labels, count=6, averaged=4, seed=0)
    assert made.shape == (6, 64, 80, 3)
    for image in made:
        nearest = np.abs(batch.astype(int) - image.astype(int)).mean(axis=(1, 2, 3)).min()
        assert nearest > 5
    assert np.array_equal(made[0], np.rint(batch[labels == 0].mean(0)).astype(np.uint8))


def test_an_artefact_that_answers_differently_is_refused() -> None:
    with pytest.raises(ExportError, match=r"onnx differs .* 2\.00e-03"):
        check_parity("onnx", Difference(probabilities=2e-3, cam=0.0))
    with pytest.raises(ExportError):
        check_parity("onnx", Difference(probabilities=0.0, cam=float("inf")))


@pytest.fixture(scope="module")
def quantised(exported: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("int8") / "int8.onnx"
    quantise(exported.bundle_path / GRAPH_ONNX, file, exported.data.images[:16])
    return file


def test_int8_quantises_the_network_and_not_the_explanation(quantised: Path) -> None:
    graph = onnx.load(quantised).graph
    maker = {name: node for node in graph.node for name in node.output}

    def quantised_input(node: onnx.NodeProto) -> bool:
        return all(
            name in maker and maker[name].op_type == "DequantizeLinear" for name in node.input[:2]
        )

    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    cam = [node for node in convolutions if not quantised_input(node)]
    assert len(cam) == 1
    assert len(convolutions) == 3 + len(cam)


def test_int8_stays_near_and_is_smaller(exported: Run, quantised: Path) -> None:
    fp32 = exported.bundle_path / GRAPH_ONNX
    batch = exported.data.images[exported.indices("test")]
    found = compare(onnx_answers(quantised, batch), onnx_answers(fp32, batch))
    assert 0 < found.probabilities < 0.25
    assert quantised.stat().st_size < fp32.stat().st_size


def spoil_scales(file: Path) -> None:
    """Make the weights three times too large, as a botched calibration might."""
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_scale") and tensor.dims:
            values = onnx.numpy_helper.to_array(tensor) * 3.0
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
    onnx.save(model, file)


def test_the_gate_ships_int8_only_when_f1_holds(exported: Run, quantised: Path) -> None:
    fp32 = exported.bundle_path / GRAPH_ONNX
    batch = exported.data.images
    predicted = onnx_answers(fp32, batch).probabilities.argmax(1)
    kept = judge(fp32, fp32, batch, predicted, max_f1_drop=0.01)
    assert kept.shipped
    assert kept.macro_f1_int8 == kept.macro_f1_fp32 == 1.0
    broken = exported.path.parent / "broken.onnx"
    shutil.copyfile(quantised, broken)
    spoil_scales(broken)
    dropped = judge(fp32, broken, batch, predicted, max_f1_drop=0.01)
    assert not dropped.shipped
    assert "not less than the 0.01 allowed" in dropped.reason
    assert dropped.speed_over_fp32 is not None


def test_int8_in_the_bundle_agrees_with_the_verdict(exported: Run) -> None:
    manifest = Bundle.open(exported.bundle_path).manifest
    assert manifest.quantisation.shipped == (exported.bundle_path / GRAPH_INT8).is_file()
    assert manifest.quantisation.shipped == ("int8" in manifest.tolerance)
    assert manifest.quantisation.macro_f1_int8 is not None


def test_tolerance_grows_with_what_was_measured_up_to_a_cap() -> None:
    near = tolerance(Difference(probabilities=0.01, cam=0.01))
    far = tolerance(Difference(probabilities=0.5, cam=0.9))
    assert near.probabilities == pytest.approx(0.04)
    assert (far.probabilities, far.cam) == (0.25, 0.5)
