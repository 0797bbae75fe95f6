"""`python -m tests.bench.serving`: measure, print the table, write the figures and the picture."""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from tests.bench.serving.measure import FULL, QUICK, Bench, say
from tests.bench.serving.plot import draw
from tests.bench.serving.report import table
from tests.bench.serving.results import FIGURES, Results
from tests.bench.serving.sections import OPTIONAL, SECTIONS

DIRECTORY, QUICK_DIRECTORY = Path("build/bench"), Path("build/bench-quick")
PICTURE = "throughput.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the sections that were named, or all; earlier figures of the others are kept."""
    parser, every = _parser(), {**SECTIONS, **OPTIONAL}
    arguments = parser.parse_args(argv)
    for section in arguments.sections:
        if section not in every:
            parser.error(f"section is {section!r}; accepted: {', '.join(every)}")
    # The servers are ended as the blocks are left, so a request to stop must leave them.
    signal.signal(signal.SIGTERM, _stop)
    scale = QUICK if arguments.quick else FULL
    if arguments.rounds:
        scale = replace(scale, rounds=arguments.rounds)
    directory = arguments.directory or (QUICK_DIRECTORY if arguments.quick else DIRECTORY)
    results = Results.load(directory)
    bench = Bench(scale, results, directory / "bundles")
    for section in arguments.sections or SECTIONS:
        bench.begin(section)
        every[section](bench)
        results.save()
    say(f"\n{table(results)}\n\nfigures: {directory / FIGURES}")
    if draw(results.rows, directory / PICTURE):
        say(f"picture: {directory / PICTURE}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.serving",
        description="Measure the predictor against the in-process ideal and other servers.",
    )
    names = [*SECTIONS, *OPTIONAL]
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help=f"which to measure, of {', '.join(names)}; all but {', '.join(OPTIONAL)} by default",
    )
    parser.add_argument("--rounds", type=int, help="of every comparison")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    parser.add_argument("--directory", type=Path, help=f"where all is written ({DIRECTORY})")
    return parser


def _stop(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
