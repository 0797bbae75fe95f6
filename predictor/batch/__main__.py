"""`python -m predictor.batch INPUT --output TABLE`: score many files, once."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.errors import SightlineError
from predictor import logs
from predictor.batch.inputs import find, name_of
from predictor.batch.progress import Progress
from predictor.batch.results import Results, Row, begun_job, check_format
from predictor.batch.scoring import Scorer
from predictor.errors import RequestError, StartError
from predictor.metrics import Metrics
from predictor.served import Served, load
from predictor.settings import Settings, add_arguments, read_settings

EXIT_FAILED, EXIT_WRONG, EXIT_SOME_FAILED = 1, 2, 3
# What is left of the server's where there is no client.
_SETTINGS = (
    "bundle", "engine", "precision", "device", "expected_load", "cache_dir", "max_batch_size",
    "max_queue", "max_body_bytes", "max_pixels", "answer_cache_bytes", "decode_threads",
    "engine_threads", "log_level", "log_format",
)  # fmt: skip
_DEFAULTS = {"expected_load": "throughput"}
# Rows are kept at least so often: what a killed run has to do again.
_KEEP_EVERY_S, _KEEP_EVERY_ROWS = 5.0, 256
_GOES_ON = "run again, without --overwrite, it goes on from here"


class Stopped(Exception):  # noqa: N818 - no error: somebody has asked for it
    """A signal came; what was scored is kept."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m predictor.batch",
        description="Score a folder, a glob or the files of a CSV into one table. Broken off, the "
        "same command goes on where it was.",
        epilog="Exit status: 0 all scored, 3 some images could not be scored (their rows say why), "
        "2 wrong use, 1 anything else, 128 + signal if stopped by one.",
        allow_abbrev=False,
    )
    parser.add_argument("input", help="folder, glob pattern, CSV with a column 'file', or a file")
    parser.add_argument("--output", required=True, type=Path, help="table, .csv or .parquet")
    parser.add_argument(
        "--overlays", type=Path, help="folder for the class activation maps drawn over the images"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="discard an older table or unfinished run"
    )
    add_arguments(parser, _SETTINGS, _DEFAULTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Score until all is done or a signal comes.

    Returns:
        The exit status, as the parser's epilog tells it.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        settings = read_settings(arguments, os.environ, _SETTINGS, _DEFAULTS)
        settings.address()
        logs.configure(settings.log_level, settings.log_format)
        check_format(arguments.output)
        files = find(arguments.input)
    except StartError as error:
        parser.exit(EXIT_WRONG, f"{parser.prog}: error: {error}\n")
    try:
        failed = asyncio.run(_run(settings, files, arguments))
    except Stopped as stopped:
        print("stopped", _GOES_ON, sep="; ", file=sys.stderr)
        return 128 + stopped.number
    except SightlineError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        if isinstance(error, RequestError):
            print(_GOES_ON, file=sys.stderr)
        return EXIT_WRONG if isinstance(error, StartError) else EXIT_FAILED
    return EXIT_SOME_FAILED if failed else 0


async def _run(settings: Settings, files: list[Path], arguments: argparse.Namespace) -> int:
    if not arguments.overwrite:
        settings = _as_begun(settings, begun_job(arguments.output))
    served = load(settings, Metrics())
    scoring = asyncio.create_task(_score_all(served, settings, files, arguments))
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        scoring.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop, int(number))
    try:
        return await scoring
    except asyncio.CancelledError:
        raise Stopped(received[0]) from None
    finally:
        await served.close()


def _as_begun(settings: Settings, job: dict[str, Any]) -> Settings:
    """Leave no choice where an earlier run has made it: rows of one table are of one engine."""
    choices = {name: job[name] for name in ("engine", "precision") if name in job}
    said = {name for name in choices if getattr(settings, name) != "auto"}
    return settings.model_copy(update={name: choices[name] for name in choices.keys() - said})


async def _score_all(
    served: Served, settings: Settings, files: list[Path], arguments: argparse.Namespace
) -> int:
    keys = served.bundle.manifest.class_keys
    scorer = Scorer(served.pipeline, keys, settings.limits, arguments.overlays)
    if arguments.overlays is not None:
        arguments.overlays.mkdir(parents=True, exist_ok=True)
    job = {
        "bundle": served.bundle.digest,
        "columns": scorer.columns,
        "engine": served.engine.name,
        "precision": served.engine.precision,
    }
    overwrite = arguments.overwrite
    with Results(arguments.output, job, scorer.columns, overwrite=overwrite) as results:
        left = [file for file in files if name_of(file) not in results.done]
        done, failed = len(files) - len(left), sum("error" in row for row in results.rows())
        progress = Progress(len(files), done, sys.stderr)
        # As many as fill the next batch while one is computed and another is decoded.
        at_once = min(settings.max_queue, 3 * settings.max_batch_size + settings.decoders)
        fresh: list[Row] = []
        kept_at = time.monotonic()
        try:
            async with contextlib.aclosing(scorer.score(left, at_once)) as rows:
                async for row in rows:
                    fresh.append(row)
                    done, failed = done + 1, failed + ("error" in row)
                    progress.show(done, failed)
                    late = time.monotonic() - kept_at > _KEEP_EVERY_S
                    if late or len(fresh) == _KEEP_EVERY_ROWS:
                        results.add(fresh)
                        fresh, kept_at = [], time.monotonic()
        finally:
            results.add(fresh)
        progress.show(done, failed, last=True)
        results.finish()
    return failed


if __name__ == "__main__":
    sys.exit(main())
