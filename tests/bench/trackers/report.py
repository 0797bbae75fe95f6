"""The figures of all trackers as JSON and as a table for the documentation."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from tests.bench import cpu
from tests.bench.trackers.measure import Kept, Round
from tests.bench.trackers.workload import FIGURES, Workload

BASE = "none"
Rounds = Mapping[str, Sequence[Round]]


def figures(rounds: Rounds, seen: Mapping[str, Kept | None], work: Workload) -> dict[str, Any]:
    """Medians over the rounds; overheads are of a round's own run without a tracker."""
    return {
        "cpu": cpu.description(),
        "workload": asdict(work) | {"figures_per_step": FIGURES},
        "rounds": len(rounds[BASE]),
        "step_ms": _ms(median(each.steps_s for each in rounds[BASE]) / work.steps),
        "trackers": {
            name: _one(rounds[name], rounds[BASE], seen.get(name), work) for name in rounds
        },
    }


def _one(
    own: Sequence[Round], base: Sequence[Round], seen: Kept | None, work: Workload
) -> dict[str, Any]:
    pairs = list(zip(own, base, strict=True))
    more_s = [(ours.steps_s - none.steps_s) / work.steps for ours, none in pairs]
    ratios = [ours.steps_s / none.steps_s for ours, none in pairs]
    return {
        "overhead_ms": _ms(median(more_s)),
        "overhead_ms_range": [_ms(min(more_s)), _ms(max(more_s))],
        "step_over_none": round(median(ratios), 4),
        "step_over_none_range": [round(min(ratios), 4), round(max(ratios), 4)],
        "begin_s": round(median(each.begin_s for each in own), 4),
        "artefact_call_s": round(median(each.artefact_call_s for each in own), 4),
        "artefact_s": round(median(each.artefact_s for each in own), 4),
        "end_s": round(median(each.end_s for each in own), 4),
        "disk_mb": round(median(each.disk_bytes for each in own) / 1e6, 2),
        "kept": None if seen is None else asdict(seen),
    }


def markdown(document: Mapping[str, Any]) -> str:
    """Two tables: what a tracker costs, and what of a run it shows."""
    work = document["workload"]
    trackers: dict[str, dict[str, Any]] = document["trackers"]
    lines = [
        (
            f"{document['cpu']['model']}; a step of {document['step_ms']:.1f} ms without a "
            f"tracker, {work['figures_per_step']} figures logged at each of {work['steps']}, "
            f"an artefact of {work['artefact_mb']} MB; medians of {document['rounds']} "
            "interleaved rounds, and in brackets the smallest and the largest."
        ),
        "",
        (
            "| | more per step, ms | step over none | begin, s | artefact: call, s | "
            "artefact: in the store, s | end, s | on disk, MB |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in trackers.items():
        low, high = row["overhead_ms_range"]
        least, most = row["step_over_none_range"]
        stored = "–" if row["kept"] is None or name.endswith("dead") else f"{row['artefact_s']:.2f}"
        lines.append(
            f"| {name} | {row['overhead_ms']:.2f} ({low:.2f} to {high:.2f}) "
            f"| {row['step_over_none']:.3f} ({least:.3f} to {most:.3f}) | {row['begin_s']:.2f} "
            f"| {row['artefact_call_s']:.3f} | {stored} | {row['end_s']:.2f} "
            f"| {row['disk_mb']:.1f} |"
        )
    lines += [
        "",
        "| read back | params | figures, each once | artefacts | nested runs | model registry |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in trackers.items():
        kept = row["kept"]
        if kept is None:
            lines.append(f"| {name} | – | – | – | – | – |")
            continue
        shares = " | ".join(f"{kept[key]:.0%}" for key in ("params", "figures", "artefacts"))
        flags = " | ".join("yes" if kept[key] else "no" for key in ("nested", "registry"))
        lines.append(f"| {name} | {shares} | {flags} |")
    return "\n".join(lines) + "\n"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
