import asyncio
import json
import logging

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from model.errors import CorruptImageError
from predictor import logs
from predictor.answer import Answer, Answers, Timings
from predictor.errors import EngineError, ItemError, QueueFullError
from predictor.journal import Journal, request_id_of
from predictor.metrics import Metrics

ANSWER = Answer("normal", 0.9, "Minimal", np.array([0.9, 0.1], np.float32))
EXPLAINED = Answer("nodule", 0.6, "Indeterminate", np.array([0.4, 0.6], np.float32), "nodule")


@pytest.fixture
def journal(metrics: Metrics) -> Journal:
    return Journal(metrics, lambda: ("chest", "7"))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "sightline")
    return caplog


def entry_of(lines: pytest.LogCaptureFixture) -> dict[str, object]:
    (record,) = [each for each in lines.records if each.name == "sightline.request"]
    return dict(json.loads(logs.JsonFormatter().format(record)))


def test_an_answered_request_is_one_line_and_counted(
    journal: Journal, lines: pytest.LogCaptureFixture, registry: CollectorRegistry
) -> None:
    with journal.open("v2", "infer", "abc-1") as entry:
        assert registry.get_sample_value("sightline_inflight") == 1.0
        entry.answers = Answers([ANSWER, EXPLAINED], Timings(0.001, 0.002, 0.003, 0.004, begun=1.0))
    found = entry_of(lines)
    assert found.pop("time")
    assert found.pop("total_ms")
    assert found == {
        "level": "info", "logger": "sightline.request", "event": "request",
        "request_id": "abc-1", "protocol": "v2", "verb": "infer", "status": 200,
        "model": "chest", "version": "7", "images": 2,
        "decode_ms": 1.0, "queue_ms": 2.0, "infer_ms": 3.0, "encode_ms": 4.0,
    }  # fmt: skip
    get = registry.get_sample_value
    labels = {"protocol": "v2", "verb": "infer", "status": "200", "version": "7"}
    assert get("sightline_requests_total", labels) == 1.0
    assert get("sightline_inflight") == 0.0
    risk = {"class": "nodule", "risk": "Indeterminate"}
    assert get("sightline_predictions_total", risk) == 1.0
    assert get("sightline_explanations_total") == 1.0
    assert get("sightline_confidence_count") == 2.0
    assert get("sightline_confidence_bucket", {"le": "0.6"}) == 1.0
    for stage in ("decode", "queue", "infer", "encode", "total"):
        assert get("sightline_stage_seconds_count", {"stage": stage}) == 1.0


def test_an_answer_that_was_kept_has_a_total_and_no_stages(
    journal: Journal, registry: CollectorRegistry
) -> None:
    with journal.open("v2", "infer", None) as entry:
        entry.answers = Answers([ANSWER])
    get = registry.get_sample_value
    assert get("sightline_stage_seconds_count", {"stage": "total"}) == 1.0
    for stage in ("decode", "queue", "infer", "encode"):
        assert get("sightline_stage_seconds_count", {"stage": stage}) is None


def test_a_refused_image_is_logged_by_place_and_reason_only(
    journal: Journal, lines: pytest.LogCaptureFixture, registry: CollectorRegistry
) -> None:
    with journal.open("v1", "predict", None) as entry:
        raise ItemError(3, CorruptImageError("damaged: Jane Doe 1950-01-01"))
    assert entry.failure is not None
    assert "Jane Doe" in entry.failure.message
    found = entry_of(lines)
    assert (found["status"], found["reason"], found["item"]) == (400, "corrupt", 3)
    assert "Jane" not in lines.text + json.dumps(found)
    get = registry.get_sample_value
    assert get("sightline_image_errors_total", {"reason": "corrupt"}) == 1.0
    assert get("sightline_rejections_total", {"reason": "corrupt"}) is None


def test_a_rejection_is_counted_by_reason(journal: Journal, registry: CollectorRegistry) -> None:
    with journal.open("grpc", "infer", None) as entry:
        raise QueueFullError("full")
    assert entry.status == 429
    get = registry.get_sample_value
    assert get("sightline_rejections_total", {"reason": "queue_full"}) == 1.0
    labels = {"protocol": "grpc", "verb": "infer", "status": "429", "version": "7"}
    assert get("sightline_requests_total", labels) == 1.0


def test_the_unexpected_is_logged_by_type_and_place_without_its_message(
    journal: Journal, lines: pytest.LogCaptureFixture
) -> None:
    with journal.open("v2", "infer", "abc-2") as entry:
        raise ValueError("could not parse 'Jane Doe'")
    assert entry.failure is not None
    assert entry.failure.message == "internal error; its log entries have request id abc-2"
    found = entry_of(lines)
    assert (found["level"], found["status"], found["exception"]) == ("error", 500, "ValueError")
    assert "test_journal.py" in str(found["traceback"])
    assert "Jane" not in json.dumps(found) + lines.text


def test_an_engine_s_own_words_are_logged(
    journal: Journal, lines: pytest.LogCaptureFixture
) -> None:
    with journal.open("v2", "infer", None):
        raise EngineError("RuntimeError: Conv_3 out of memory")
    assert entry_of(lines)["detail"] == "RuntimeError: Conv_3 out of memory"


def test_a_cancelled_request_is_counted_and_goes_on_being_cancelled(
    journal: Journal, lines: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(asyncio.CancelledError), journal.open("v2", "infer", None):
        raise asyncio.CancelledError
    assert entry_of(lines)["status"] == 499


@pytest.mark.parametrize("sane", ["a", "abc-123", "00-4bf92f:1.2_3", "x" * 128])
def test_a_sane_request_id_is_kept(sane: str) -> None:
    assert request_id_of(sane) == sane


@pytest.mark.parametrize("wild", [None, "", "x" * 129, "a b", "a\nb", 'a"b', "-a", "é", "a/../b"])
def test_any_other_request_id_is_replaced(wild: str | None) -> None:
    made = request_id_of(wild)
    assert made != wild
    assert request_id_of(made) == made
    assert request_id_of(wild) != made


def test_text_format_has_the_same_fields() -> None:
    record = logging.LogRecord("sightline.x", logging.WARNING, "f", 1, "hello", None, None)
    record.data = {"images": 3}
    text = logs.TextFormatter().format(record)
    assert text.endswith("warning hello logger=sightline.x images=3")


def test_configuring_silences_the_lines_that_repeat_ours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        logs.configure("info", "json")
        logging.getLogger("kserve.trace").error("request took 1 ms")
        logging.getLogger("uvicorn.access").error("POST /v2/models/x/infer")
        logging.getLogger("kserve").warning("from the SDK")
        logging.getLogger("sightline.model").info("model loaded", extra={"data": {"name": "m"}})
        emitted = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        root.handlers[:], root.level = before
        logging.captureWarnings(False)
        for name in ("kserve", "kserve.trace", "uvicorn", "uvicorn.access", "uvicorn.error"):
            logging.getLogger(name).disabled = False
            logging.getLogger(name).handlers = []
            logging.getLogger(name).propagate = True
    assert [line["event"] for line in emitted] == ["from the SDK", "model loaded"]
    assert emitted[1]["name"] == "m"
