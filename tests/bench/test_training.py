"""The benchmark itself, so that it does not rot: the figures of these runs mean nothing."""

import json
from pathlib import Path

import pytest

from tests.bench.training.__main__ import main
from tests.bench.training.measure import QUICK, Bench
from tests.bench.training.results import FIGURES, Row, TrainingResults
from tests.bench.training.sections import SECTIONS, gpu
from tests.bench.training.source import CLASS_KEYS, Source

FIGURE_KEYS = {
    "cpu",
    "throughput_over_reference",
    "throughput_over_timm_style",
    "loop_overhead",
    "cache_speedup",
    "ddp_2_scaling",
    "time_to_f1_over_reference",
    "time_to_f1_over_timm_style",
    "resume_waste",
    "rss_growth",
    "gpu",
    "spread",
    "notes",
    "rows",
}
MEASURED = {
    "baseline": {"throughput_over_reference.baseline", "throughput_over_timm_style.baseline"},
    "resnet18": {"throughput_over_reference.resnet18", "throughput_over_timm_style.resnet18"},
    "overhead": {"loop_overhead", "loop_overhead_augmented"},
    "cache": {"cache_speedup"},
    "scaling": {"ddp_2_scaling", "ddp_2_over_2_threads"},
    "accuracy": {"time_to_f1_over_reference", "time_to_f1_over_timm_style"},
    "resume": {"resume_waste"},
    "memory": {"rss_growth"},
}
LOOPS = {
    "baseline": {"sightline", "reference style", "timm style"},
    "resnet18": {"sightline", "reference style", "timm style"},
    "accuracy": {"sightline", "reference style", "timm style"},
    "overhead": {"sightline", "bare"},
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("section", MEASURED)
def test_a_section_writes_its_rows_and_ratios(section: str, tmp_path: Path) -> None:
    assert main([section, "--quick", "--directory", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / FIGURES).read_text())
    assert set(figures) == FIGURE_KEYS
    assert set(figures["spread"]) == MEASURED[section]
    least = {key: low for key, (low, _) in figures["spread"].items()}
    assert all(low > 0 or key == "resume_waste" for key, low in least.items())
    rows = figures["rows"]
    assert {row["section"] for row in rows} <= {section}
    assert {row["loop"] for row in rows} == LOOPS.get(section, {"sightline"} if rows else set())
    assert all(row["macro_f1"] is not None for row in rows if section == "accuracy")


def test_every_section_is_tested() -> None:
    assert set(MEASURED) | {"gpu"} == set(SECTIONS)


def test_what_runs_on_a_gpu_runs_here_too(tmp_path: Path) -> None:
    # Single and mixed precision are the same on a CPU: this shows that it runs, no more.
    results = TrainingResults(tmp_path)
    bench = Bench(QUICK, results)
    bench.begin("gpu")
    gpu.compare(bench, "cpu", "no GPU at all")
    found = results.figures()["gpu"]
    assert found["name"] == "no GPU at all"
    assert {"images_per_second", "over_synthetic", "amp_speedup", "compile_speedup"} <= set(found)


def test_the_parts_of_the_images_share_no_patient(tmp_path: Path) -> None:
    root = Source(images=12, val_images=6, side_px=64).write(tmp_path)
    files = {part: sorted((root / part).glob("*/*.jpg")) for part in ("train", "val", "test")}
    assert {part: len(found) for part, found in files.items()} == {"train": 12, "val": 6, "test": 3}
    patients = {part: {file.stem.split("-")[0] for file in found} for part, found in files.items()}
    assert not patients["train"] & (patients["val"] | patients["test"])
    assert not patients["val"] & patients["test"]
    assert {file.parent.name for file in files["test"]} == set(CLASS_KEYS)


def test_without_a_gpu_there_are_no_figures_of_one(tmp_path: Path) -> None:
    results = TrainingResults(tmp_path)
    assert results.figures()["gpu"] is None
    results.samples["throughput_over_reference.baseline"] = [2.0, 2.5, 2.2]
    results.rows = [
        Row("gpu", 0, "sightline", "resnet50", "AMP", "A GPU", 900.0, 1.0, None, 0.0, 512.0)
    ]
    results.samples["gpu.over_synthetic"] = [0.95]
    results.save()
    kept = TrainingResults.load(tmp_path).figures()
    assert kept["throughput_over_reference"] == {"baseline": 2.2, "resnet18": None}
    assert kept["gpu"] == {"name": "A GPU", "over_synthetic": 0.95}
    assert kept["spread"]["throughput_over_reference.baseline"] == [2.0, 2.5]


def test_an_unknown_section_is_an_error_that_lists_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "section is 'speed'; accepted: baseline, resnet18" in capsys.readouterr().err
