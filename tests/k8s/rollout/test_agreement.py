import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from k8s.rollout.__main__ import main
from k8s.rollout.interval import wilson
from predictor.answer import Answer
from predictor.records import Records

_LABELS = ("normal", "nodule")


def _log(
    file: Path, version: str, answers: list[tuple[str, str, int]], *, confidence: float = 0.9
) -> Path:
    """As the predictor writes it: request id, hash and class of each image."""
    log = Records(file, max_bytes=10**9, files=2, on_drop=lambda _: None)
    for request_id, sha256, label in answers:
        probabilities = np.full(2, 1 - confidence, np.float32)
        probabilities[label] = confidence
        risk = "Low" if confidence >= 0.7 else "Indeterminate"
        answer = Answer(_LABELS[label], confidence, risk, probabilities, sha256=sha256)
        request = {"request_id": request_id, "model": "chest", "version": version}
        log.put(request, [answer])
    log.close()
    return file


def _compare(
    capsys: pytest.CaptureFixture[str], primary: Path, target: Path, *more: str
) -> tuple[int, dict[str, Any]]:
    status = main(["compare", "--primary", str(primary), "--target", str(target), *more])
    said = capsys.readouterr()
    return status, json.loads(said.out) if said.out else {"error": said.err}


def test_mirrored_requests_pair_by_their_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [(f"r{n}", f"h{n}", n % 2) for n in range(100)]
    changed = [(r, h, 0 if n == 7 else c) for n, (r, h, c) in enumerate(answers)]
    primary = _log(tmp_path / "old", "1", answers)
    status, found = _compare(capsys, primary, _log(tmp_path / "new", "2", changed))
    assert status == 0
    assert found["pairs"] == {
        "by_request": 100,
        "by_image": 0,
        "mismatched": 0,
        "primary_only": 0,
        "target_only": 0,
    }
    low, high = wilson(99, 100)
    agreement = found["agreement"]
    assert agreement["rate"] == 0.99
    assert (agreement["low"], agreement["high"]) == pytest.approx((low, high), abs=1e-6)
    assert found["by_class"]["normal"]["rate"] == 1
    assert found["by_class"]["nodule"]["rate"] == 0.98
    assert found["changed"] == [{"primary": "nodule", "target": "normal", "images": 1}]
    assert found["versions"] == {"primary": ["1"], "target": ["2"]}
    assert found["largest_probability_change"] == pytest.approx(0.8, abs=1e-6)


def test_lines_of_other_requests_pair_by_the_image_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    primary = [("a", "h1", 0), ("b", "h1", 0), ("c", "h2", 1), ("d", "h3", 1)]
    target = [("x", "h1", 0), ("y", "h2", 0), ("z", "h9", 0)]
    _, found = _compare(
        capsys, _log(tmp_path / "old", "1", primary), _log(tmp_path / "new", "2", target)
    )
    assert found["pairs"] == {
        "by_request": 0,
        "by_image": 2,
        "mismatched": 0,
        "primary_only": 1,
        "target_only": 1,
    }
    assert found["agreement"]["rate"] == 0.5


def test_a_request_id_that_came_with_another_image_does_not_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    primary = _log(tmp_path / "old", "1", [("same", "h1", 0), ("other", "h2", 1)])
    target = _log(tmp_path / "new", "2", [("same", "h2", 1)])
    _, found = _compare(capsys, primary, target)
    assert found["pairs"]["mismatched"] == 1
    assert found["pairs"]["by_image"] == 1
    assert found["agreement"]["rate"] == 1


def test_confidence_and_abstention_are_compared_in_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [(f"r{n}", f"h{n}", 0) for n in range(10)]
    primary = _log(tmp_path / "old", "1", answers)
    target = _log(tmp_path / "new", "2", answers, confidence=0.6)
    _, found = _compare(capsys, primary, target)
    assert found["confidence_change"]["mean"] == pytest.approx(-0.3)
    assert found["abstention"] == {"both": 0, "primary_only": 0, "target_only": 10}


def test_too_little_agreement_has_a_status_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [(f"r{n}", f"h{n}", 0) for n in range(10)]
    primary, target = _log(tmp_path / "old", "1", answers), _log(tmp_path / "new", "2", answers)
    assert _compare(capsys, primary, target, "--at-least", "0.9")[0] == 3
    assert _compare(capsys, primary, target, "--at-least", "0.7")[0] == 0


def test_a_line_that_was_cut_off_is_left_out_and_another_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = _log(tmp_path / "log", "1", [("a", "h1", 0), ("b", "h2", 1)])
    whole = log.read_bytes()
    log.write_bytes(whole[:-10])
    assert _compare(capsys, log, log)[1]["agreement"]["images"] == 1
    log.write_bytes(whole + b'{"label": 1}\n')
    status, found = _compare(capsys, log, log)
    assert status == 1
    assert f"{log}, line 3 is none of a request log: request_id" in found["error"]


def test_logs_without_anything_in_common_say_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    primary = _log(tmp_path / "old", "1", [("a", "h1", 0)])
    target = _log(tmp_path / "new", "2", [("b", "h2", 0)])
    status, found = _compare(capsys, primary, target)
    assert status == 1
    assert "x-request-id" in found["error"]
    assert main(["compare", "--primary", "absent", "--target", str(target)]) == 1


def test_the_interval_is_wilsons() -> None:
    """Figures of Newcombe 1998, table I."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)
