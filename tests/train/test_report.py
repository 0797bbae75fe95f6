"""The report and the model card: what they say, to whom, and that nothing else is needed."""

import csv
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from tests.predictor.browser import open_browser
from train.assessment.schema import Figure
from train.config import TrainConfig
from train.console import Console
from train.evaluation import run_evaluate
from train.findings import Evaluation
from train.report.charts import confidence, losses
from train.report.svg import interval_bar, start_of_bars, ticks
from train.run import Run
from train.state import Epoch
from train.training import run_fit

from .conftest import CLASSES, shapes_tree

HOSTILE = '<script>alert("x")</script> & [a](http://b) | `c`'


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False


@pytest.fixture(scope="module")
def run(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on data with metadata, whose classes have hostile names."""
    root = tmp_path_factory.mktemp("report")
    with (shapes / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    rng = np.random.default_rng(0)
    with (root / "labels.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0], "site", "age"])
        writer.writeheader()
        for row in rows:
            paths = {name: row[name] and str(shapes / row[name]) for name in ("file", "mask")}
            told = {"site": HOSTILE if rng.random() < 0.5 else "B", "age": rng.integers(20, 90)}
            writer.writerow(row | paths | told)
    tree = shapes_tree(root, root / "run")
    tree["data"]["classes"] = [CLASSES[0] | {"name": HOSTILE}, *CLASSES[1:]]
    tree["data"]["split"] = {"test": 0.4}
    tree["evaluate"] = {"slices": ["site", {"column": "age", "edges": [50]}], "resamples": 100}
    tree["evaluate"]["card"] = {"intended_use": HOSTILE, "limits": [HOSTILE]}
    tree["loop"]["epochs"] = 3
    tree["tracking"]["uri"] = f"sqlite:///{root / 'secret-place.db'}"
    run = Run(TrainConfig.model_validate(tree), Console(io.StringIO()))
    run_fit(run)
    run_evaluate(run)
    return run


@pytest.fixture(scope="module")
def report(run: Run) -> str:
    return (run.path / "report.html").read_text()


@pytest.fixture(scope="module")
def evaluation(run: Run) -> Evaluation:
    return Evaluation.model_validate_json((run.path / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


def test_the_report_names_no_address_outside_itself(report: str) -> None:
    page = Page(report)
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "form")
        for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, name)
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in report
    assert "@import" not in report


def test_names_from_users_are_text_and_nothing_else(report: str) -> None:
    page = Page(report)
    assert HOSTILE in page.text
    assert "<script" not in report
    assert any(attributes.get("alt", "").endswith(HOSTILE) for _, attributes in page.tags)


def test_names_from_users_are_text_in_the_card(run: Run) -> None:
    card = (run.path / "MODEL_CARD.md").read_text()
    assert "<script" not in card
    # Neither a link nor another cell.
    assert r"\[a\](http://b) \| \`c\`" in card
    tables = [line for line in card.splitlines() if line.startswith("|")]
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in tables if "site" in line}
    assert columns == {5}


def test_no_patient_file_or_path_is_named(run: Run, report: str) -> None:
    told = report + "".join(
        (run.path / name).read_text()
        for name in ("MODEL_CARD.md", "evaluation.json", "predictions.csv")
    )
    for sample in run.data.samples:
        assert sample.file not in told
        assert sample.group not in told
    for private in (str(run.path), str(run.data.root), "secret-place"):
        assert private not in told


def test_every_image_has_a_text_and_every_table_headers(report: str) -> None:
    page = Page(report)
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) > 10
    assert all(attributes["alt"] for attributes in pictures)
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert all(a.get("aria-label") or a.get("aria-hidden") == "true" for a in drawings)
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert report.count("<table") == report.count("<thead")


def test_the_json_has_every_figure_of_the_report(evaluation: Evaluation, report: str) -> None:
    page, assessment = Page(report), evaluation.assessment
    figures: list[Figure] = [figure for _, figure in assessment.overall]
    figures += [
        getattr(each, name)
        for each in assessment.classes
        for name in ("precision", "recall", "f1", "auroc", "auprc")
    ]
    figures += [each.balanced_accuracy for each in assessment.slices]
    for figure in figures:
        if figure.value is not None:
            assert f"{figure.value:.3f}" in page.text
        if figure.low is not None and figure.high is not None:
            assert f"{figure.low:.3f} – {figure.high:.3f}" in page.text
    assert [each.column for each in assessment.slices][-1] == "age"
    assert {each.value for each in assessment.slices} >= {"under 50", "50 and over", "B", HOSTILE}
    assert sum(each.images for each in assessment.slices) == 2 * assessment.images


def test_the_json_is_strict_and_versioned(run: Run) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = (run.path / "evaluation.json").read_text()
    assert json.loads(text, parse_constant=refuse)["schema_version"] == 2


def test_the_manifests_figures_are_the_reports(evaluation: Evaluation) -> None:
    metrics, assessment = evaluation.metrics, evaluation.assessment
    assert metrics.accuracy == assessment.overall.accuracy.value
    assert metrics.macro_f1 == pytest.approx(assessment.overall.macro_f1.value)
    assert metrics.confusion == assessment.confusion
    assert metrics.images == np.sum(metrics.confusion)
    assert metrics.per_class["disc"].auroc == assessment.classes[1].auroc.value


def test_export_adds_what_became_of_int8(
    run: Run, exported: Run, report: str, evaluation: Evaluation
) -> None:
    assert evaluation.export is None
    assert 'id="export"' not in report
    folder = exported.bundle_path / "report"
    told = Evaluation.model_validate_json((folder / "evaluation.json").read_text())
    assert told.export is not None
    for name in ("report.html", "MODEL_CARD.md"):
        assert (folder / name).read_text() == (exported.path / name).read_text()
        assert told.export.quantisation.reason in Page((folder / name).read_text()).text
    assert (exported.path / "evaluation.json").read_text() == (
        folder / "evaluation.json"
    ).read_text()


def test_a_report_without_images_shows_none(run: Run, tmp_path: Path) -> None:
    files = {name: (run.path / name).read_bytes() for name in ("report.html", "evaluation.json")}
    try:
        run_evaluate(Run.open(run.path, ["evaluate.gallery=0"], Console(io.StringIO())))
        assert "<img" not in (run.path / "report.html").read_text()
    finally:
        for name, content in files.items():
            (run.path / name).write_bytes(content)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", [1280, 360])
def test_the_report_is_readable_in_a_browser(
    browser: Browser, run: Run, scheme: Any, width_px: int
) -> None:
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width_px, "height": 800}, bypass_csp=True
    )
    page = context.new_page()
    faults: list[str] = []
    requested: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto((run.path / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
    assert faults == []
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context.close()


def test_the_policy_of_the_report_lets_its_images_and_styles_pass(
    browser: Browser, run: Run
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.goto((run.path / "report.html").as_uri())
    loaded = "Array.from(document.images).every(each => each.naturalWidth > 0)"
    page.wait_for_function(loaded)
    style = "getComputedStyle(document.querySelector('.confusion td')).getPropertyValue('--share')"
    assert float(page.evaluate(style)) >= 0.0
    assert faults == []
    page.close()


@pytest.mark.parametrize(
    ("highest", "whole", "expected"),
    [
        (1.3, False, [0, 0.5, 1.0, 1.5]),
        (0.09, False, [0, 0.02, 0.04, 0.06, 0.08, 0.1]),
        (3, True, [0, 1, 2, 3]),
        (40, True, [0, 10, 20, 30, 40]),
        (154, True, [0, 50, 100, 150, 200]),
        (0, True, [0, 1]),
    ],
)
def test_ticks_are_round_and_reach_the_highest(
    highest: float, whole: bool, expected: list[float]
) -> None:
    assert ticks(highest, whole=whole) == pytest.approx(expected)


def test_bars_begin_below_everything_on_them() -> None:
    figures = [Figure(value=0.8, low=0.67, high=0.9), Figure(value=None, reason="none")]
    assert start_of_bars(figures) == pytest.approx(0.6)
    assert start_of_bars([]) == pytest.approx(0.9)
    bar = interval_bar(figures[0], None, 0.6, "usual").__html__()
    assert 'x1="17.50" x2="75.00"' in bar


def test_a_training_of_one_epoch_can_be_drawn() -> None:
    epoch = Epoch(
        epoch=1,
        train_loss=0.0,
        val_loss=5.0,
        val_macro_f1=0.0,
        val_balanced_accuracy=0.5,
        val_accuracy=0.5,
        val_auroc=None,
        learning_rate=0.1,
        seconds=1.0,
    )
    assert "<polyline" in losses([epoch]).__html__()


def test_confidence_begins_where_the_least_sure_answer_can_be(evaluation: Evaluation) -> None:
    drawn = confidence(evaluation.assessment).__html__()
    assert drawn.count("<title>") >= 1
    assert ">0.3</text>" in drawn
    assert ">0.1</text>" not in drawn
