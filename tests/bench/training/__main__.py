"""`python -m tests.bench.training`: measure, print the table, write the figures."""

import sys
from collections.abc import Sequence

from tests.bench import command
from tests.bench.recorder import say
from tests.bench.report import table
from tests.bench.training.goals import goals
from tests.bench.training.measure import FULL, QUICK, Bench
from tests.bench.training.results import FIGURES, TrainingResults
from tests.bench.training.sections import SECTIONS


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the sections that were named, or all; earlier figures of the others are kept."""
    arguments = command.read(
        argv,
        "python -m tests.bench.training",
        "Measure the trainer against bare arithmetic and against loops in the usual styles.",
        SECTIONS,
    )
    scale = QUICK if arguments.quick else FULL
    if arguments.rounds:
        scale = scale.with_rounds(arguments.rounds)
    results = TrainingResults.load(arguments.directory)
    bench = Bench(scale, results)
    for section in arguments.sections:
        bench.begin(section)
        SECTIONS[section](bench)
        results.save()
    say(f"\n{table(goals(), results.samples, results.notes)}")
    say(f"\nfigures: {arguments.directory / FIGURES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
