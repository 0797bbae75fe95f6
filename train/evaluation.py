"""The step `evaluate`: temperature from validation, figures from the untouched test split."""

from datetime import UTC, datetime

import torch

from model.explain import ExplainedClassifier
from train.assessment import Scored, assess, assess_slices
from train.assessment.bootstrap import Resamples
from train.assessment.schema import Assessment, Bootstrap, Figure
from train.calibrate import fit_temperature
from train.findings import EVALUATION, Evaluation, public_config, scored_of
from train.inference import answers_of, logits_of
from train.intensity import intensity_baseline
from train.leakage import Leakage
from train.localisation import hit_rate
from train.metrics import evaluate_probabilities
from train.predictions import PREDICTIONS, write_predictions
from train.report import REPORT_FILES, write_report
from train.run import Run
from train.summary import summarise
from train.training import LEAKAGE, read_training


def run_evaluate(run: Run) -> Evaluation:
    """Evaluate the best checkpoint of a run, and write its report."""
    training = read_training(run)
    leakage = run.read(LEAKAGE, Leakage, "fit")
    data, network, config = run.data, run.network(), run.config
    val, test = run.indices("val"), run.indices("test")
    with run.tracked() as tracker:
        cpu = torch.device("cpu")
        temperature = fit_temperature(logits_of(network, data.images[val], cpu), data.labels[val])
        answers = answers_of(ExplainedClassifier(network, temperature).eval(), data.images[test])
        scored = scored_of(run, answers, temperature)
        uncalibrated = scored_of(run, answers, 1.0)
        samples = [data.samples[position] for position in test]
        masks = [data.root / sample.mask if sample.mask else None for sample in samples]
        assessment = _assess(run, scored, uncalibrated)
        evaluation = Evaluation(
            name=config.name,
            created=datetime.now(UTC).replace(microsecond=0),
            classes=data.classes,
            temperature=temperature,
            metrics=evaluate_probabilities(
                scored.probabilities,
                uncalibrated.probabilities,
                scored.labels,
                [info.key for info in data.classes],
            ),
            assessment=assessment,
            intensity_baseline_macro_f1=intensity_baseline(
                data.images, data.labels, run.indices("train"), test
            ),
            cam_hit_rate=hit_rate(answers.cam, answers.logits.argmax(1), scored.labels, masks),
            data=summarise(data, run.parts, leakage, config.data.split.allow),
            training=training,
            config=public_config(config),
            card=config.evaluate.card,
        )
        hashes = [data.hashes[position] for position in test]
        keys = [info.key for info in data.classes]
        write_predictions(run.path / PREDICTIONS, hashes, keys, scored)
        run.write(EVALUATION, evaluation)
        write_report(run.path, run, evaluation, answers)
        for name in (EVALUATION, PREDICTIONS, *REPORT_FILES):
            tracker.log_files(run.path / name)
        tracker.log_metrics(figures(evaluation) | _interval(evaluation))
    run.console.say(describe(evaluation))
    return evaluation


def _assess(run: Run, scored: Scored, uncalibrated: Scored) -> Assessment:
    config, data, test = run.config.evaluate, run.data, run.indices("test")
    threshold = run.config.risk.indeterminate_below
    several = len(scored) > scored.patients
    settings = Bootstrap(
        resamples=config.resamples,
        confidence=config.confidence,
        seed=run.config.seed,
        unit="patient" if several else "image",
        units=scored.patients,
    )
    resamples = Resamples.draw(
        scored.patients, config.resamples, config.confidence, run.config.seed
    )
    slices = assess_slices(
        scored,
        data.samples,
        test,
        data.classes,
        resamples,
        config.slices,
        threshold,
        config.min_slice_images,
    )
    return assess(
        scored,
        uncalibrated,
        data.classes,
        resamples,
        settings,
        threshold,
        config.specificities,
        slices,
    )


def describe(evaluation: Evaluation) -> str:
    """The figures as lines of text."""
    metrics, assessment = evaluation.metrics, evaluation.assessment
    overall, share = assessment.overall, f"{assessment.bootstrap.confidence:.0%}"
    lines = [
        (
            f"test split, {assessment.images} images of {assessment.patients} patients: accuracy "
            f"{metrics.accuracy:.3f}, macro-F1 {_with_interval(overall.macro_f1)} at {share} "
            f"(brightness alone: {evaluation.intensity_baseline_macro_f1:.3f})"
        ),
        (
            f"calibration error {metrics.ece_uncalibrated:.3f} -> {metrics.ece:.3f} "
            f"at temperature {evaluation.temperature:.2f}"
        ),
        (
            f"{1.0 - (overall.coverage.value or 0.0):.1%} Indeterminate, below "
            f"{assessment.indeterminate_below:.0%} confidence; accuracy on the rest "
            f"{_with_interval(overall.decided_accuracy)}"
        ),
    ]
    width = max(len(each.key) for each in assessment.classes)
    lines.append(f"  {'class':{width}}  precision  recall     F1  AUROC  images")
    lines += [
        f"  {each.key:{width}}      {_cell(each.precision)}   {_cell(each.recall)}  "
        f"{_cell(each.f1)}  {_cell(each.auroc)}  {each.support:6d}"
        for each in assessment.classes
    ]
    if evaluation.cam_hit_rate is not None:
        lines.append(f"the map peaks inside the lesion in {evaluation.cam_hit_rate:.0%}")
    lines += [f"warning: {text}" for text in assessment.warnings]
    lines += [
        f"warning: {each.column} {each.value}: {text}"
        for each in assessment.slices
        for text in each.warnings
    ]
    return "\n".join(lines)


def _cell(figure: Figure) -> str:
    return "    -" if figure.value is None else f"{figure.value:5.3f}"


def _with_interval(figure: Figure) -> str:
    return figure.rounded() if figure.value is not None else f"- ({figure.reason})"


def figures(evaluation: Evaluation) -> dict[str, float]:
    """Every figure by the name that trackers know it by; what is not defined is left out."""
    found: dict[str, float | None] = {
        "temperature": evaluation.temperature,
        "intensity_baseline_macro_f1": evaluation.intensity_baseline_macro_f1,
        "cam_hit_rate": evaluation.cam_hit_rate,
    }
    for name, figure in evaluation.assessment.overall:
        found[f"test_{name}"] = figure.value
    for each in evaluation.assessment.classes:
        for name in ("precision", "recall", "f1", "auroc", "auprc"):
            found[f"test_{name}/{each.key}"] = getattr(each, name).value
    return {name: value for name, value in found.items() if value is not None}


def _interval(evaluation: Evaluation) -> dict[str, float]:
    """Of macro-F1, by which models are chosen; where it has one."""
    macro = evaluation.assessment.overall.macro_f1
    ends = {"test_macro_f1_low": macro.low, "test_macro_f1_high": macro.high}
    return {name: value for name, value in ends.items() if value is not None}
