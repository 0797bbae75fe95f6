"""What the explanation costs: the exported graph against the same graph with the map cut off."""

import json
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx.utils import extract_model

from model.architectures import build
from model.explain import ExplainedClassifier
from model.image import DecodeRule
from train.export import to_onnx

RULE = DecodeRule(width_px=224, height_px=224)
ROUNDS = 40
FIGURES = Path("build/bench/cam.json")


@pytest.mark.bench
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_b0", "mobilenet_v3_large"])
def test_cost_of_the_cam_over_a_prediction(name: str, batch: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    to_onnx(ExplainedClassifier(build(name, 3)).eval(), RULE, tmp_path / "model.onnx")
    # Leaving the output out of a request is not enough: the runtime computes it all the same.
    extract_model(tmp_path / "model.onnx", tmp_path / "bare.onnx", ["image"], ["probabilities"])
    bare, explained = (
        onnxruntime.InferenceSession(tmp_path / file) for file in ("bare.onnx", "model.onnx")
    )
    image = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8)
    seconds: dict[str, list[float]] = {"bare": [], "explained": []}
    for turn in range(ROUNDS + 5):
        # In turns, so that a machine that slows down slows both.
        for kind, session in (("bare", bare), ("explained", explained)):
            started = time.perf_counter()
            session.run(None, {"image": image})
            if turn >= 5:
                seconds[kind].append(time.perf_counter() - started)
    pairs = zip(seconds["explained"], seconds["bare"], strict=True)
    ratios = sorted(one / other for one, other in pairs)
    row = {
        "network": name,
        "batch": batch,
        "bare_ms": 1e3 * statistics.median(seconds["bare"]),
        "ratio_min": ratios[0],
        "ratio_median": statistics.median(ratios),
        "ratio_max": ratios[-1],
    }
    print(" ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(FIGURES.read_text()) if FIGURES.is_file() else []
    kept = [each for each in rows if (each["network"], each["batch"]) != (name, batch)]
    FIGURES.write_text(json.dumps([*kept, row], indent=2) + "\n")
    assert len(ratios) == ROUNDS
