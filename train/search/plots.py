"""Plots of a study: how the search went, and what of it mattered."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from train.atomic import write_atomically
from train.search.config import Choice, SearchConfig

_DOT: dict[str, Any] = {"s": 22, "alpha": 0.85, "linewidths": 0}
_COLOURS = "viridis"
_GOOD, _PRUNED = "#2a6f97", "#b8b8b8"
_FEWEST = 4


def draw_plots(study: Study, search: SearchConfig) -> list[Path]:
    """Draw what the trials allow, as PNG files in the study's directory."""
    complete = [t for t in study.get_trials(False, (TrialState.COMPLETE,)) if t.value is not None]
    if not complete:
        return []
    plots = {
        "history.png": _history(study, search),
        "curves.png": _curves(study, search),
        "slices.png": _slices(complete, search),
        "parallel.png": _parallel(complete, search),
    }
    different = len({trial.value for trial in complete}) > 1
    if len(complete) >= _FEWEST and len(search.space) > 1 and different:
        plots["importances.png"] = _importances(study)
    files = []
    for name, figure in plots.items():
        file = search.directory / name
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        write_atomically(file, lambda stream, b=buffer: stream.write(b.getvalue()))  # type: ignore[misc]
        files.append(file)
    return files


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _history(study: Study, search: SearchConfig) -> Figure:
    """Value of each trial, and the best so far."""
    figure, axes = _figure(8, 4.5)
    for state, colour, label in (
        (TrialState.PRUNED, _PRUNED, "given up"),
        (TrialState.COMPLETE, _GOOD, "complete"),
    ):
        trials = [t for t in study.get_trials(False, (state,)) if t.value is not None]
        if trials:
            values = np.array([t.value for t in trials], dtype=float)
            axes.scatter([t.number for t in trials], values, color=colour, label=label, **_DOT)
    trials = study.get_trials(False, (TrialState.COMPLETE,))
    best = np.maximum if search.towards == "maximize" else np.minimum
    so_far = best.accumulate(np.array([t.value for t in trials], dtype=float))
    numbers = [t.number for t in trials]
    axes.step(numbers, so_far, where="post", color="#d1495b", linewidth=1.5, label="best so far")
    axes.set(xlabel="trial", ylabel=search.objective, title=f"Study {search.name}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def _curves(study: Study, search: SearchConfig) -> Figure:
    """The objective by epoch, a line per trial."""
    figure, axes = _figure(8, 4.5)
    best = study.best_trial.number
    for trial in study.get_trials(False, (TrialState.PRUNED, TrialState.COMPLETE)):
        epochs = sorted(trial.intermediate_values)
        values = [trial.intermediate_values[epoch] for epoch in epochs]
        pruned, first = trial.state == TrialState.PRUNED, trial.number == best
        colour = "#d1495b" if first else _PRUNED if pruned else _GOOD
        label = f"trial {best}, the best" if first else None
        axes.plot(epochs, values, color=colour, label=label, zorder=3 if first else 2,
                  linewidth=2.0 if first else 0.9, marker="o", markersize=2.5)  # fmt: skip
    axes.set(xlabel="epoch", ylabel=search.objective, title="Learning curves; given up in grey")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def _slices(trials: Sequence[FrozenTrial], search: SearchConfig) -> Figure:
    """The objective against each key that was searched."""
    keys = list(search.space)
    figure = Figure(figsize=(max(4.5, 3.4 * len(keys)), 3.9), layout="constrained")
    rows = figure.subplots(1, len(keys), sharey=True, squeeze=False)[0]
    colours = mpl.colormaps[_COLOURS]
    last = max(trial.number for trial in trials)
    for axes, key in zip(rows, keys, strict=True):
        positions, ticks = _positions([trial.params[key] for trial in trials], key, search)
        shades = [colours(trial.number / max(1, last)) for trial in trials]
        axes.scatter(positions, [trial.value for trial in trials], color=shades, **_DOT)
        axes.set_xlabel(key)
        axes.spines[["top", "right"]].set_visible(False)
        if ticks is not None:
            axes.set_xticks(range(len(ticks)), ticks)
        elif _is_log(key, search):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.tick_params(axis="x", labelrotation=35)
    rows[0].set_ylabel(search.objective)
    figure.suptitle("Each key by itself; later trials are lighter")
    return figure


def _parallel(trials: Sequence[FrozenTrial], search: SearchConfig) -> Figure:
    """A line per trial over all keys, coloured by its value."""
    keys = list(search.space)
    figure, axes = _figure(max(6.0, 2.3 * (len(keys) + 1)), 4.8)
    columns, labels = [], []
    for key in keys:
        positions, ticks = _positions([trial.params[key] for trial in trials], key, search)
        scale = np.log10 if ticks is None and _is_log(key, search) else np.asarray
        numbers = scale(np.asarray(positions, dtype=float))
        low, high = float(numbers.min()), float(numbers.max())
        span = (high - low) or 1.0
        columns.append((numbers - low) / span if high > low else np.full(len(numbers), 0.5))
        if ticks is None:
            shown = [trial.params[key] for trial in trials]
            labels.append([(0.0, f"{min(shown):.3g}"), (1.0, f"{max(shown):.3g}")])
        else:
            labels.append([((n - low) / span, tick) for n, tick in enumerate(ticks)
                           if low <= n <= high])  # fmt: skip
    values = np.array([trial.value for trial in trials], dtype=float)
    norm = mpl.colors.Normalize(values.min(), values.max())
    colours = mpl.cm.ScalarMappable(norm, _COLOURS)
    order = np.argsort(values if search.towards == "maximize" else -values)
    for number in order:
        heights = [column[number] for column in columns]
        best = number == order[-1]
        axes.plot(range(len(keys)), heights, color=colours.to_rgba(values[number]),
                  linewidth=2.5 if best else 1.1, alpha=1.0 if best else 0.7)  # fmt: skip
    for position, column in enumerate(labels):
        axes.axvline(position, color="#888888", linewidth=0.8, zorder=1)
        for height, label in column:
            axes.annotate(label, (position, height), (4, 3), textcoords="offset points", fontsize=8)
    axes.set_xticks(range(len(keys)), keys)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set(ylim=(-0.06, 1.1), xlim=(-0.15, len(keys) - 0.6), title="Complete trials; best thick")
    figure.colorbar(colours, ax=axes, label=search.objective)
    return figure


def _importances(study: Study) -> Figure:
    """How much of the difference between good trials and the others each key explains.

    PED-ANOVA, https://arxiv.org/abs/2304.10255.
    """
    with warnings.catch_warnings():
        # Of few trials, or many equal ones, it says that they tell little.
        warnings.simplefilter("ignore")
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    figure, axes = _figure(8, 1.2 + 0.45 * len(found))
    keys = list(found)[::-1]
    bars = axes.barh(keys, [found[key] for key in keys], color=_GOOD)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlabel="importance (shares of 1)", title="What mattered", xlim=(0, 1.1))
    return figure


def _positions(
    values: Sequence[Any], key: str, search: SearchConfig
) -> tuple[list[float], list[str] | None]:
    """Places on an axis; with labels where the values have no order of their own."""
    parameter = search.space[key]
    if not isinstance(parameter, Choice):
        return [float(value) for value in values], None
    return [float(parameter.choices.index(value)) for value in values], [
        str(choice) for choice in parameter.choices
    ]


def _is_log(key: str, search: SearchConfig) -> bool:
    parameter = search.space[key]
    return not isinstance(parameter, Choice) and parameter.log
