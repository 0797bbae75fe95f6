"""The step `evaluate`: temperature from validation, figures from the untouched test split."""

import torch
from pydantic import BaseModel, ConfigDict, Field

from model.explain import ExplainedClassifier
from model.manifest import Metrics
from train.calibrate import calibrated, fit_temperature
from train.inference import answers_of, logits_of
from train.intensity import intensity_baseline
from train.localisation import hit_rate
from train.metrics import evaluate_probabilities
from train.run import Run
from train.training import read_training

EVALUATION = "evaluation.json"


class Evaluation(BaseModel):
    """Figures of a trained network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float
    metrics: Metrics
    intensity_baseline_macro_f1: float = Field(
        description="of a logistic regression on global intensity statistics"
    )
    cam_hit_rate: float | None = Field(
        description="share of correctly classified lesion images whose map peaks in the lesion mask"
    )


def run_evaluate(run: Run) -> Evaluation:
    """Evaluate the best checkpoint of a run."""
    read_training(run)
    data, network = run.data, run.network()
    val, test = run.indices("val"), run.indices("test")
    with run.tracked() as tracker:
        cpu = torch.device("cpu")
        temperature = fit_temperature(logits_of(network, data.images[val], cpu), data.labels[val])
        answers = answers_of(ExplainedClassifier(network, temperature).eval(), data.images[test])
        labels = data.labels[test]
        metrics = evaluate_probabilities(
            calibrated(answers.logits, temperature),
            calibrated(answers.logits, 1.0),
            labels,
            [info.key for info in data.classes],
        )
        samples = [data.samples[position] for position in test]
        masks = [data.root / sample.mask if sample.mask else None for sample in samples]
        evaluation = Evaluation(
            temperature=temperature,
            metrics=metrics,
            intensity_baseline_macro_f1=intensity_baseline(
                data.images, data.labels, run.indices("train"), test
            ),
            cam_hit_rate=hit_rate(answers.cam, answers.logits.argmax(1), labels, masks),
        )
        tracker.log_files(run.write(EVALUATION, evaluation))
        tracker.log_metrics(figures(evaluation))
    run.console.say(describe(evaluation))
    return evaluation


def describe(evaluation: Evaluation) -> str:
    """The figures as lines of text."""
    metrics = evaluation.metrics
    lines = [
        (
            f"test split, {metrics.images} images: accuracy {metrics.accuracy:.3f}, "
            f"macro-F1 {metrics.macro_f1:.3f} "
            f"(brightness alone: {evaluation.intensity_baseline_macro_f1:.3f})"
        ),
        (
            f"calibration error {metrics.ece_uncalibrated:.3f} -> {metrics.ece:.3f} "
            f"at temperature {evaluation.temperature:.2f}"
        ),
    ]
    width = max(len(key) for key in metrics.per_class)
    lines.append(f"  {'class':{width}}  precision  recall     F1  AUROC  images")
    for key, row in metrics.per_class.items():
        auroc = "    -" if row.auroc is None else f"{row.auroc:5.3f}"
        lines.append(
            f"  {key:{width}}      {row.precision:5.3f}   {row.recall:5.3f}  {row.f1:5.3f}  "
            f"{auroc}  {row.support:6d}"
        )
    if evaluation.cam_hit_rate is not None:
        lines.append(f"the map peaks inside the lesion in {evaluation.cam_hit_rate:.0%}")
    return "\n".join(lines)


def figures(evaluation: Evaluation) -> dict[str, float]:
    """Every figure by the name that trackers know it by."""
    metrics = evaluation.metrics
    found = {
        "test_accuracy": metrics.accuracy,
        "test_macro_f1": metrics.macro_f1,
        "test_ece": metrics.ece,
        "temperature": evaluation.temperature,
        "intensity_baseline_macro_f1": evaluation.intensity_baseline_macro_f1,
    }
    if evaluation.cam_hit_rate is not None:
        found["cam_hit_rate"] = evaluation.cam_hit_rate
    for key, row in metrics.per_class.items():
        found |= {
            f"test_precision/{key}": row.precision,
            f"test_recall/{key}": row.recall,
            f"test_f1/{key}": row.f1,
        }
        if row.auroc is not None:
            found[f"test_auroc/{key}"] = row.auroc
    return found
