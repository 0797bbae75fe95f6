import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model.bundle import Bundle
from model.manifest import Precision
from predictor.engine import ENGINES
from predictor.engine import race as race_module
from predictor.engine import survey as module
from predictor.engine.base import Device, Engine, EngineKind
from predictor.engine.record import Row
from predictor.engine.survey import Wanted, options, survey, survey_apart
from predictor.errors import StartError
from tests.predictor.bundles import altered, bend_weights
from tests.predictor.paced import Clock, PacedKind


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(race_module, "time", clock)
    return clock


class Broken(PacedKind):
    """A GPU, say, that is there and does not work."""

    devices: tuple[Device, ...] = ("cuda",)

    def open(
        self,
        file: Path,
        precision: Precision,
        threads: int,
        device: Device = "cpu",
        cache: Path | None = None,
    ) -> Engine:
        raise RuntimeError("CUDA error 999: unknown error\nmore")


def test_the_winner_of_all_races_is_marked_and_everything_closed(
    bundle: Bundle, clock: Clock
) -> None:
    kinds = {
        name: PacedKind(name, clock, 0.0, pace)
        for name, pace in (("slow", 0.020), ("fast", 0.010), ("middle", 0.015))
    }
    tried: list[int] = []
    rows = survey(options(kinds, Wanted()), bundle, Wanted(max_batch_size=4), tried.append)
    assert [row.engine for row in rows if row.fastest] == ["fast"]
    assert [row.milliseconds for row in rows] == [
        {1: 20.0, 4: 80.0},
        {1: 10.0, 4: 40.0},
        {1: 15.0, 4: 60.0},
    ]
    assert tried == [0, 1, 2]
    assert all(kind.opened == 1 and not kind.loaded for kind in kinds.values())


def test_no_more_than_two_are_loaded_at_a_time(bundle: Bundle, clock: Clock) -> None:
    kinds: dict[str, PacedKind] = {}
    most = 0

    class Watched(PacedKind):
        def open(
            self,
            file: Path,
            precision: Precision,
            threads: int,
            device: Device = "cpu",
            cache: Path | None = None,
        ) -> Engine:
            nonlocal most
            engine = super().open(file, precision, threads, device, cache)
            most = max(most, sum(len(kind.loaded) for kind in kinds.values()))
            return engine

    kinds.update({name: Watched(name, clock, 0.0, 0.01) for name in "abcde"})
    survey(options(kinds, Wanted()), bundle, Wanted(max_batch_size=2))
    assert most == 2


def test_what_does_not_work_is_refused_and_the_others_go_on(bundle: Bundle, clock: Clock) -> None:
    kinds: dict[str, EngineKind] = {
        "gpu": Broken("gpu", clock, 0.0, 0.0),
        "cpu": PacedKind("cpu", clock, 0.0, 0.01),
    }
    gpu, cpu = survey(options(kinds, Wanted()), bundle, Wanted(max_batch_size=2))
    assert gpu == Row(
        engine="gpu",
        precision="fp32",
        device="cuda",
        refused="model.onnx does not load: RuntimeError: CUDA error 999: unknown error",
    )
    assert cpu.fastest
    assert cpu.refused is None


def test_when_the_time_is_over_the_best_so_far_wins(
    bundle: Bundle, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOTAL_S", -1.0)
    kinds = {name: PacedKind(name, clock, 0.0, 0.01) for name in "ab"}
    tried, left = survey(options(kinds, Wanted()), bundle, Wanted(max_batch_size=2))
    assert tried.fastest
    assert left.refused == "not tried: the time for it was over"


def test_settings_narrow_the_options() -> None:
    def names(**wanted: str) -> list[str]:
        return [str(option) for option in options(ENGINES, Wanted(**wanted))]  # type: ignore[arg-type]

    assert names(engine="openvino") == ["openvino/fp32 on cpu", "openvino/int8 on cpu"]
    assert names(precision="int8", device="cpu") == [
        "onnxruntime/int8 on cpu",
        "openvino/int8 on cpu",
    ]
    assert "tensorrt/fp32 on cuda" in names(device="cuda")
    assert names(engine="openvino", device="cuda") == []


def test_another_process_finds_the_same(bundle: Bundle, tmp_path: Path) -> None:
    bent = altered(bundle, tmp_path / "bent", lambda folder: bend_weights(folder / "model.onnx"))
    offered = options(ENGINES, Wanted(device="cpu", precision="fp32"))
    rows = survey_apart(offered, bent, Wanted(max_batch_size=2))
    assert [row.engine for row in rows] == ["onnxruntime", "openvino", "torchscript"]
    for row in rows[:2]:
        assert row.refused is not None
        assert row.refused.startswith("self-test: probabilities differ by")
        assert row.differences["probabilities"] > 1e-3
    assert rows[2].fastest
    assert set(rows[2].milliseconds) == {1, 2}


def test_an_option_that_takes_its_process_down_is_refused_and_the_others_are_tried(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # No runtime at hand crashes on demand, so the child is given one that does.
    program = f"""
import os, signal
from predictor.engine import ENGINES, survey
def crash(*arguments, **options):
    os.kill(os.getpid(), signal.{signal.SIGSEGV.name})
ENGINES["openvino"].open = crash
survey.main()
"""
    (tmp_path / "crashing.py").write_text(program)
    real_run = subprocess.run

    def run(command: list[str], **options: Any) -> object:
        assert command[1:3] == ["-m", "predictor.engine.survey"]
        return real_run([command[0], str(tmp_path / "crashing.py"), *command[3:]], **options)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.syspath_prepend(os.fspath(Path.cwd()))
    wanted = Wanted(max_batch_size=2, device="cpu", precision="fp32")
    offered = [each for each in options(ENGINES, wanted) if each.name != "torchscript"]
    rows = survey_apart(offered, bundle, wanted)
    assert [row.fastest for row in rows] == [True, False]
    assert rows[1].refused == "its process ended by signal SIGSEGV"


def test_a_process_that_cannot_even_begin_is_said(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StartError, match="cannot be tried: their process ended with status 1"):
        survey_apart(options(ENGINES, Wanted()), bundle, Wanted())
