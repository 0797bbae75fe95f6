"""Static INT8: made from the ONNX file, shipped only through the accuracy gate."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from model.manifest import Difference, Quantisation, Tolerance
from train.export import compare, onnx_answers
from train.inference import Answers
from train.metrics import macro_f1

_CALIBRATION_BATCH = 16


def quantise(file: Path, target: Path, images: npt.NDArray[np.uint8]) -> None:
    """Quantise the convolutions and linear layers that lead to the probabilities.

    Weights are INT8 per channel, activations UINT8, in QDQ form, which every engine reads. The
    layers of the explanation alone stay FP32: they cost nothing, and the map keeps its precision.

    Args:
        file: FP32 ONNX.
        target: where the INT8 ONNX is written.
        images: real training images that set the ranges, uint8 [N, H, W, 3].
    """
    with tempfile.TemporaryDirectory() as directory:
        prepared = Path(directory) / "prepared.onnx"
        # Folds batch normalisation into the convolutions, so that it is quantised with them.
        quant_pre_process(file, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            nodes_to_exclude=_explanation_only(onnx.load(prepared).graph),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # Ranges averaged over batches: one outlying image would otherwise coarsen them for all.
            # On the demo's network macro-F1 fell by 0.000 to 0.009 so, by 0.004 to 0.017 otherwise.
            extra_options={"CalibMovingAverage": True},
        )
    onnx.checker.check_model(target, full_check=True)


def judge(
    fp32: Path,
    int8: Path,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    max_f1_drop: float,
) -> Quantisation:
    """The accuracy gate: compare both files on the same images, and time them.

    Speed is recorded, not judged: which of the two serves is decided on the machine that serves.

    Args:
        fp32: FP32 ONNX.
        int8: INT8 ONNX.
        images: test images, uint8 [N, H, W, 3].
        labels: their classes, [N].
        max_f1_drop: macro-F1 must fall by less than this.
    """
    before, after = onnx_answers(fp32, images), onnx_answers(int8, images)
    classes = before.logits.shape[1]
    f1_before = macro_f1(labels, before.probabilities.argmax(1), classes)
    f1_after = macro_f1(labels, after.probabilities.argmax(1), classes)
    drop = f1_before - f1_after
    shipped = drop < max_f1_drop
    return Quantisation(
        shipped=shipped,
        reason=f"macro-F1 {f1_before:.4f} in FP32, {f1_after:.4f} in INT8: a fall of "
        f"{max(drop, 0.0):.4f}, {'' if shipped else 'not '}less than the {max_f1_drop:g} allowed",
        macro_f1_fp32=f1_before,
        macro_f1_int8=f1_after,
        speed_over_fp32=_speed_ratio(fp32, int8, images[:8]),
        difference=compare(after, before),
    )


def tolerance(measured: Difference) -> Tolerance:
    """What the reference answers allow an engine: twice what is lost here, and a little more.

    Another CPU may round differently, which is harmless; saturation, which is not, is several
    times larger than the rounding.
    """
    return Tolerance(
        probabilities=min(0.25, 2.0 * measured.probabilities + 0.02),
        cam=min(0.5, 2.0 * measured.cam + 0.05),
    )


def reference_difference(
    int8: Path, images: npt.NDArray[np.uint8], expected: Answers
) -> Difference:
    """How far the INT8 file is from the reference answers on this machine."""
    return compare(onnx_answers(int8, images), expected)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        starts = range(0, len(images), _CALIBRATION_BATCH)
        self._batches: Iterator[npt.NDArray[np.uint8]] = (
            images[start : start + _CALIBRATION_BATCH] for start in starts
        )

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


def _explanation_only(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that nothing but the `cam` output needs."""
    maker = {name: node for node in graph.node for name in node.output}
    needed: set[str] = set()
    waiting = ["logits", "probabilities"]
    while waiting:
        node = maker.get(waiting.pop())
        if node is not None and node.name not in needed:
            needed.add(node.name)
            waiting.extend(node.input)
    return [node.name for node in graph.node if node.name not in needed]


def _speed_ratio(fp32: Path, int8: Path, images: npt.NDArray[np.uint8]) -> float:
    sessions = [
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        for file in (fp32, int8)
    ]
    seconds: tuple[list[float], list[float]] = ([], [])
    # In turns, so that a machine that slows down slows both.
    for turn in range(12):
        for session, taken in zip(sessions, seconds, strict=True):
            started = time.perf_counter()
            session.run(["probabilities", "cam"], {"image": images})
            if turn >= 2:
                taken.append(time.perf_counter() - started)
    return statistics.median(seconds[0]) / statistics.median(seconds[1])
