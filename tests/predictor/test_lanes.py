import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.bundle import Bundle
from predictor.engine import ENGINES
from predictor.engine.base import Batch, Engine, EngineOutput
from predictor.engine.lanes import open_lane
from tests.predictor.bundles import altered, bend_weights


def opened(bundle: Bundle, name: str = "onnxruntime", threads: int = 2) -> Engine:
    kind = ENGINES[name]
    return kind.open(bundle.path / kind.artefacts["fp32"], "fp32", threads)


def test_a_lane_answers_as_the_engine_does(bundle: Bundle) -> None:
    engine = opened(bundle)
    lane = open_lane(engine, bundle, ENGINES, 2, 4)
    assert lane is not None
    images = bundle.reference().image
    one, other = (each.run(images, want_cam=False).probabilities for each in (engine, lane))
    assert np.allclose(one, other, atol=1e-5)


def test_as_many_full_batches_as_there_are_cpus_are_run_at_once_before_the_first_request(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened(bundle)
    run, seen = type(engine).run, Counter[tuple[int, int]]()

    def counted(self: Engine, images: Batch, *, want_cam: bool) -> EngineOutput:
        seen[threading.get_ident(), len(images)] += 1
        return run(self, images, want_cam=want_cam)

    monkeypatch.setattr(type(engine), "run", counted)
    # More than there are reference images.
    assert open_lane(engine, bundle, ENGINES, 2, 33) is not None
    assert [count for (_, size), count in seen.items() if size == 33] == [1, 1]


@pytest.mark.parametrize(
    ("name", "threads"), [("onnxruntime", 1), ("onnxruntime", 8), ("torchscript", 2)]
)
def test_there_is_none_where_it_is_of_no_use(bundle: Bundle, name: str, threads: int) -> None:
    assert open_lane(opened(bundle, name, threads), bundle, ENGINES, threads, 4) is None


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (bend_weights, "probabilities differ"),
        (lambda file: file.write_bytes(b"no graph"), "model.onnx does not load again"),
    ],
)
def test_there_is_none_if_it_does_not_load_or_reproduce_the_reference(
    bundle: Bundle,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    alter: Callable[[Path], object],
    reason: str,
) -> None:
    other = altered(bundle, tmp_path / "other", lambda files: None)
    alter(other.path / "model.onnx")
    assert open_lane(opened(bundle), other, ENGINES, 2, 4) is None
    assert reason in str(vars(caplog.records[-1])["data"])
