"""The command line that the benchmarks have in common."""

import argparse
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType

DIRECTORY, QUICK_DIRECTORY = Path("build/bench"), Path("build/bench-quick")


def read(
    argv: Sequence[str] | None,
    prog: str,
    description: str,
    sections: Iterable[str],
    optional: Iterable[str] = (),
) -> argparse.Namespace:
    """Read the command line, and let a request to stop leave the blocks that are open.

    Args:
        argv: the arguments; None for those of the process.
        prog: what was called.
        description: what it does.
        sections: that are measured if none is named.
        optional: that are measured only if they are named.

    Returns:
        `sections` (a list of names), `rounds` (or None), `quick` and `directory`.
    """
    usual, others = list(sections), list(optional)
    parser = argparse.ArgumentParser(prog=prog, description=description)
    but = f"; all but {', '.join(others)} by default" if others else "; all by default"
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help=f"which to measure, of {', '.join(usual + others)}{but}",
    )
    parser.add_argument("--rounds", type=int, help="of every comparison")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    parser.add_argument("--directory", type=Path, help=f"where all is written ({DIRECTORY})")
    arguments = parser.parse_args(argv)
    for section in arguments.sections:
        if section not in usual + others:
            parser.error(f"section is {section!r}; accepted: {', '.join(usual + others)}")
    arguments.sections = arguments.sections or usual
    arguments.directory = arguments.directory or (QUICK_DIRECTORY if arguments.quick else DIRECTORY)
    # What was started is ended as the blocks are left, so a request to stop must leave them.
    signal.signal(signal.SIGTERM, _stop)
    return arguments


def _stop(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
