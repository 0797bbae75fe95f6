"""The comparison of trackers runs, and reads back what it recorded."""

import json
from pathlib import Path

import pytest

from tests.bench.trackers.__main__ import main
from tests.bench.trackers.measure import Round
from tests.bench.trackers.report import figures, markdown
from tests.bench.trackers.workload import Workload


def a_round(steps_s: float) -> Round:
    return Round(0.1, steps_s, 0.01, 0.2, 0.3, 5_000_000, "x")


def test_an_overhead_is_of_the_same_rounds_run_without_a_tracker() -> None:
    rounds = {"none": [a_round(1.0), a_round(2.0)], "other": [a_round(1.1), a_round(2.4)]}
    document = figures(rounds, {"none": None, "other": None}, Workload(steps=100))
    row = document["trackers"]["other"]
    assert row["overhead_ms"] == pytest.approx(2.5)
    assert row["overhead_ms_range"] == pytest.approx([1.0, 4.0])
    assert row["step_over_none"] == pytest.approx(1.15)
    assert document["trackers"]["none"]["step_over_none"] == 1.0
    assert "| other | 2.50 (1.00 to 4.00) | 1.150 (1.100 to 1.200) |" in markdown(document)


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    names = ["MLflow server", "MLflow server, dead", "MLflow server, in the step"]
    assert main([*names, "--quick", "--directory", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "trackers.json").read_text())
    for name in names:
        kept = document["trackers"][name]["kept"]
        assert {key: kept[key] for key in ("params", "figures", "artefacts", "nested")} == {
            "params": 1.0, "figures": 1.0, "artefacts": 1.0, "nested": True,
        }  # fmt: skip
        assert kept["registry"] == ("dead" not in name)
        # What waits for a dead server is a hard link, and takes no room.
        assert (document["trackers"][name]["disk_mb"] >= 1.0) == ("dead" not in name)
    assert document["trackers"]["none"]["kept"] is None
    assert (
        "| MLflow server, dead | 100% | 100% | 100% | yes | no |"
        in (tmp_path / "trackers.md").read_text()
    )
