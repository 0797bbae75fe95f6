"""`python -m tests.bench.serving`: measure, print the table, write the figures and the picture."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from tests.bench import command
from tests.bench.recorder import say
from tests.bench.report import table
from tests.bench.serving.goals import goals
from tests.bench.serving.measure import FULL, QUICK, Bench
from tests.bench.serving.plot import draw
from tests.bench.serving.results import FIGURES, ServingResults
from tests.bench.serving.sections import OPTIONAL, SECTIONS

PICTURE = "throughput.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the sections that were named, or all; earlier figures of the others are kept."""
    arguments = command.read(
        argv,
        "python -m tests.bench.serving",
        "Measure the predictor against the in-process ideal and other servers.",
        SECTIONS,
        OPTIONAL,
    )
    scale = QUICK if arguments.quick else FULL
    if arguments.rounds:
        scale = replace(scale, rounds=arguments.rounds)
    results = ServingResults.load(arguments.directory)
    bench = Bench(scale, results, arguments.directory / "bundles")
    for section in arguments.sections:
        bench.begin(section)
        {**SECTIONS, **OPTIONAL}[section](bench)
        results.save()
    say(f"\n{table(goals(), results.samples, results.notes)}")
    say(f"\nfigures: {arguments.directory / FIGURES}")
    if draw(results.rows, arguments.directory / PICTURE):
        say(f"picture: {arguments.directory / PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
