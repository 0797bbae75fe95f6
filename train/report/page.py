"""Writes `report.html` and `MODEL_CARD.md`."""

from pathlib import Path
from typing import Any

from train.atomic import write_text
from train.findings import Evaluation, scored_of
from train.inference import Answers
from train.report import charts
from train.report.cautions import cautions, standing_limits
from train.report.gallery import make_gallery
from train.report.labels import LABELS
from train.report.svg import start_of_bars
from train.report.templates import render
from train.run import Run

REPORT = "report.html"
CARD = "MODEL_CARD.md"
REPORT_FILES = (REPORT, CARD)


def write_report(directory: Path, run: Run, evaluation: Evaluation, answers: Answers) -> None:
    """Write both, each whole or not at all.

    Args:
        directory: where to.
        run: for the images of the gallery.
        evaluation: everything else.
        answers: of the network on the test split, [N, ...].
    """
    assessment, training = evaluation.assessment, evaluation.training
    most = run.config.evaluate.gallery
    gallery = None
    if most:
        scored = scored_of(run, answers, evaluation.temperature)
        gallery = make_gallery(run, scored, answers, assessment.indeterminate_below, most)
    about: dict[str, Any] = {
        "e": evaluation,
        "a": assessment,
        "names": [info.name for info in evaluation.classes],
        "provenance": _told(training.provenance.model_dump(exclude={"versions"})),
        "cautions": cautions(evaluation),
        "limits": [*evaluation.card.limits, *standing_limits(evaluation)],
        "gallery": gallery,
        "labels": LABELS,
        "start": start_of_bars([each.balanced_accuracy for each in assessment.slices]),
        "series": charts.series,
        "roc": charts.roc(assessment),
        "precision_recall": charts.precision_recall(assessment),
        "reliability": charts.reliability(assessment),
        "confidence": charts.confidence(assessment),
        "losses": charts.losses(training.history),
        "scores": charts.scores(training.history, training.best_epoch),
    }
    write_text(directory / REPORT, render("report.html.j2", about))
    write_text(directory / CARD, render("card.md.j2", about))


def _told(values: dict[str, Any]) -> dict[str, str]:
    """Words for a table; what is nested is left to `evaluation.json`."""
    return {
        key.replace("_", " "): "unknown" if value is None else str(value)
        for key, value in values.items()
        if not isinstance(value, dict | list)
    }
