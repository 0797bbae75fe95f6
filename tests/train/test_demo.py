"""The demo as a whole, on few and small phantoms, with a real registry and a real server."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model.errors import SightlineError
from train.console import Console
from train.demo import run_demo
from train.phantom import PhantomConfig

PHANTOM = PhantomConfig(images=72, seed=11, min_size_px=200, max_size_px=260, processes=1)
QUICK = [
    "loop.epochs=1",
    "loop.warmup_epochs=0",
    "model.options.width=8",
    "data.decode.width_px=64",
    "data.decode.height_px=64",
    "release.min_macro_f1=0",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], str]:
    directory = tmp_path_factory.mktemp("build")
    told = io.StringIO()
    summaries = [run_demo(directory, False, QUICK, Console(told), PHANTOM) for _ in range(2)]
    return directory / "demo", summaries, told.getvalue()


def test_the_summary_has_every_figure(demo: tuple[Path, list[dict[str, Any]], str]) -> None:
    directory, summaries, _ = demo
    summary = json.loads((directory / "summary.json").read_text())
    assert summary == summaries[-1]
    assert 0.0 <= summary["macro_f1"] <= 1.0
    assert 0.0 <= summary["intensity_baseline_macro_f1"] <= 1.0
    assert summary["parity"]["torchscript"] <= 1e-4
    assert summary["parity"]["onnx"] <= 1e-4
    assert summary["cam_parity"] <= 5e-5
    assert isinstance(summary["int8"]["shipped"], bool)
    assert summary["int8"]["reason"]
    assert set(summary["seconds"]) == {
        "phantom", "fit", "evaluate", "export", "release", "serve", "request",
    }  # fmt: skip
    assert set(summary["milliseconds"]) == {"decode", "queue", "infer", "encode", "round_trip"}
    answer = summary["answer"]
    assert answer["class"] in ("normal", "nodule", "infiltrate")
    assert 1 / 3 <= answer["probability"] <= 1.0
    assert answer["risk"] in ("Minimal", "Low", "Moderate", "High", "Indeterminate")


def test_the_second_demo_is_compared_with_the_first(
    demo: tuple[Path, list[dict[str, Any]], str],
) -> None:
    _, (first, second), _ = demo
    assert "no champion yet" in first["gate"]["reason"]
    assert (first["gate"]["version"], first["answer"]["version"]) == ("1", "1")
    assert "champion version 1 on the same test split" in second["gate"]["reason"]
    assert second["gate"]["verdict"] == "promoted"
    assert second["answer"]["version"] == "2"


def test_the_picture_can_be_opened(demo: tuple[Path, list[dict[str, Any]], str]) -> None:
    directory, _, _ = demo
    with Image.open(directory / "overlay.png") as image:
        image.load()
        assert min(image.size) >= 100


def test_the_report_tells_of_slices_and_of_the_export(
    demo: tuple[Path, list[dict[str, Any]], str],
) -> None:
    directory, (_, summary), _ = demo
    report = (directory / "report.html").read_text()
    for column in ("breast_shadow", "format", "width_px"):
        assert f"<h3>{column}</h3>" in report
    assert summary["int8"]["reason"] in report


def test_the_answer_is_told_as_a_table(demo: tuple[Path, list[dict[str, Any]], str]) -> None:
    *_, told = demo
    for row in ("class", "probability", "risk", "model version", "milliseconds", "parity", "INT8"):
        assert f"\n  {row} " in told


def test_a_predictor_that_cannot_start_is_reported(
    demo: tuple[Path, list[dict[str, Any]], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIGHTLINE_MAX_BATCH_SIZE", "none")
    with pytest.raises(SightlineError, match=r"predictor ended with code 2:\n.*MAX_BATCH_SIZE"):
        run_demo(tmp_path, False, QUICK, Console(io.StringIO()), PHANTOM)


def test_a_first_model_that_is_refused_is_not_served(tmp_path: Path) -> None:
    # One epoch on so few images never reaches the figure that is asked of a first model.
    strict = [*QUICK, "release.min_macro_f1=1"]
    with pytest.raises(SightlineError, match="no model to serve: no champion yet; macro-F1"):
        run_demo(tmp_path, False, strict, Console(io.StringIO()), PHANTOM)


def test_a_refused_model_leaves_the_champion_to_answer(
    demo: tuple[Path, list[dict[str, Any]], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory, _, _ = demo
    # Only the score is replaced: training a reliably worse model takes too long here.
    monkeypatch.setattr(
        "train.gate.score", lambda run, _, bundle: float(bundle.path != run.bundle_path)
    )
    told = io.StringIO()
    summary = run_demo(directory.parent, False, QUICK, Console(told), PHANTOM)
    assert (summary["gate"]["verdict"], summary["gate"]["version"]) == ("refused", "3")
    assert summary["answer"]["version"] == "2"
    assert "the champion, version 2, has answered" in told.getvalue()
