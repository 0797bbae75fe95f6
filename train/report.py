"""The report picture: what the model gets right, where it looks, how sure it may be."""

from pathlib import Path
from typing import cast

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from model.overlay import blend
from train.atomic import write_atomically
from train.calibrate import calibrated
from train.evaluation import Evaluation
from train.inference import Answers
from train.metrics import reliability
from train.run import Run
from train.training import Training

mpl.use("Agg")

_GALLERY = 6
_BLUE, _GREY, _RED = "#2b6cb0", "#a0aec0", "#c53030"


def draw_report(
    file: Path, run: Run, training: Training, evaluation: Evaluation, answers: Answers
) -> None:
    """Draw one page as PNG.

    Args:
        file: where it is written.
        run: the run.
        training: its history.
        evaluation: its figures.
        answers: of the network on the test split, [N, ...].
    """
    figure = Figure(figsize=(13, 11), dpi=100, layout="constrained")
    rows = figure.subfigures(3, 1, height_ratios=[1.3, 1, 1])
    plots, right, wrong = cast("list[SubFigure]", rows)
    axes = plots.subplots(1, 3)
    _confusion(axes[0], run, evaluation)
    _reliability(axes[1], run, evaluation, answers)
    _history(axes[2], training)
    _galleries(right, wrong, run, answers)
    metrics = evaluation.metrics
    figure.suptitle(
        f"{run.config.name}: macro-F1 {metrics.macro_f1:.3f}, accuracy {metrics.accuracy:.3f} "
        f"on {metrics.images} test images  ({run.config.model.architecture})",
        fontsize=15,
    )
    write_atomically(file, lambda stream: figure.savefig(stream, format="png"))


def _confusion(axes: Axes, run: Run, evaluation: Evaluation) -> None:
    counts = np.array(evaluation.metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [info.name for info in run.data.classes]
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix")
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)


def _reliability(axes: Axes, run: Run, evaluation: Evaluation, answers: Answers) -> None:
    labels = run.data.labels[run.indices("test")]
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1)
    for temperature, colour, word, ece in (
        (1.0, _GREY, "before", evaluation.metrics.ece_uncalibrated),
        (evaluation.temperature, _BLUE, "after", evaluation.metrics.ece),
    ):
        rows = reliability(calibrated(answers.logits, temperature), labels)
        confidence, accuracy, share = np.array(rows).T
        axes.scatter(
            confidence,
            accuracy,
            s=20 + 400 * share,
            color=colour,
            alpha=0.7,
            label=f"{word} scaling, ECE {ece:.3f}",
        )
    axes.set(
        xlim=(0, 1.02),
        ylim=(0, 1.05),
        xlabel="confidence",
        ylabel="share correct",
        title="Calibration on the test split",
    )
    axes.legend(loc="lower right", fontsize=8)


def _history(axes: Axes, training: Training) -> None:
    epochs = [epoch.epoch for epoch in training.history]
    axes.plot(epochs, [e.train_loss for e in training.history], color=_GREY, label="training loss")
    axes.plot(epochs, [e.val_loss for e in training.history], color=_RED, label="validation loss")
    # The first epochs may overshoot by far, and would flatten all that follows.
    highest = 1.5 * max(epoch.train_loss for epoch in training.history)
    axes.set(xlabel="epoch", ylabel="loss", title="Training", ylim=(0.0, highest))
    right = axes.twinx()
    right.plot(
        epochs, [e.val_macro_f1 for e in training.history], color=_BLUE, label="validation macro-F1"
    )
    right.set(ylim=(0, 1.02), ylabel="macro-F1")
    right.axvline(training.best_epoch, color=_BLUE, linewidth=0.8, linestyle=":")
    lines = [*axes.get_lines(), right.get_lines()[0]]
    right.legend(lines, [str(line.get_label()) for line in lines], loc="center right", fontsize=8)


def _galleries(right: SubFigure, wrong: SubFigure, run: Run, answers: Answers) -> None:
    """Right and wrong answers, each with the map of the predicted class."""
    labels = run.data.labels[run.indices("test")]
    predicted, confidence = answers.probabilities.argmax(axis=1), answers.probabilities.max(axis=1)
    surest = _by_class(np.flatnonzero(predicted == labels), labels, confidence)
    mistaken = np.flatnonzero(predicted != labels)
    mistaken = mistaken[np.argsort(-confidence[mistaken])]
    right.suptitle("Correct, the surest of each class, with Grad-CAM", fontsize=12)
    _gallery(right, surest[:_GALLERY], run, answers)
    wrong.suptitle(
        f"Mistaken, {len(mistaken)} in all, the surest first, with Grad-CAM", fontsize=12
    )
    _gallery(wrong, mistaken[:_GALLERY], run, answers)


def _gallery(figure: SubFigure, chosen: npt.NDArray[np.int64], run: Run, answers: Answers) -> None:
    names = [info.name for info in run.data.classes]
    axes = figure.subplots(1, _GALLERY)
    for cell in axes:
        cell.axis("off")
    for cell, position in zip(axes, chosen, strict=False):
        sample = run.indices("test")[position]
        label = int(run.data.labels[sample])
        guess = int(answers.probabilities[position].argmax())
        cell.imshow(blend(np.asarray(run.data.images[sample]), answers.cam[position, guess]))
        title = f"{names[guess]} {answers.probabilities[position, guess]:.0%}"
        if label != guess:
            title += f"\ntrue: {names[label]}"
        cell.set_title(title, fontsize=9, color="black" if label == guess else _RED)


def _by_class(
    positions: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    """The surest of each class in turn."""
    queues = [
        sorted(positions[labels[positions] == label], key=lambda p: -confidence[p])
        for label in np.unique(labels)
    ]
    turns = [queue[turn] for turn in range(_GALLERY) for queue in queues if turn < len(queue)]
    return np.array(turns, dtype=np.int64)
