"""Every engine and artefact tried and timed against the others.

`python -m predictor.engine.survey` is the same in a process of its own, which takes its memory with
it when it ends, and which a runtime may crash or hang without harm to the server.
"""

import ctypes
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from model.bundle import Bundle, Reference
from model.manifest import Precision
from predictor.engine.base import Device, Engine, EngineKind
from predictor.engine.race import Candidate, ExpectedLoad, race
from predictor.engine.record import Row
from predictor.engine.selftest import SelfTest, self_test
from predictor.errors import StartError

# After this long nothing more is tried; what was not is said in the table.
TOTAL_S = 120.0
# One that compiles for longer than this is given up.
PATIENCE_S = 600.0
_PR_SET_PDEATHSIG = 1


class Wanted(BaseModel):
    """What may be chosen, and by what.

    Attributes:
        cache: writable directory for what is to outlive the process.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    max_batch_size: int = 8
    threads: int = 1
    load: ExpectedLoad = "balanced"
    cache: Path | None = None

    def __str__(self) -> str:
        return f"engine {self.engine}, precision {self.precision}, device {self.device}"


class Option(NamedTuple):
    """A runtime with an artefact and a device, before anything is known of it."""

    name: str
    kind: EngineKind
    precision: Precision
    device: Device

    def __str__(self) -> str:
        return f"{self.name}/{self.precision} on {self.device}"

    def row(self, **values: Any) -> Row:
        return Row(engine=self.name, precision=self.precision, device=self.device, **values)

    def is_of(self, row: Row) -> bool:
        return (self.name, self.precision, self.device) == (row.engine, row.precision, row.device)


class Refused(NamedTuple):
    """An option that may not serve, and why."""

    row: Row


def options(kinds: Mapping[str, EngineKind], wanted: Wanted) -> list[Option]:
    """All that the settings allow."""
    return [
        Option(name, kind, precision, device)
        for name, kind in kinds.items()
        if wanted.engine in ("auto", name)
        for precision in kind.artefacts
        if wanted.precision in ("auto", precision)
        for device in kind.devices
        if wanted.device in ("auto", device)
    ]


def attempt(
    option: Option, bundle: Bundle, reference: Reference, wanted: Wanted
) -> Candidate | Refused:
    """Load an option and test its answers."""
    file = bundle.path / option.kind.artefacts[option.precision]
    try:
        engine = option.kind.open(
            file, option.precision, wanted.threads, option.device, wanted.cache
        )
    except Exception as error:  # noqa: BLE001 - a runtime may raise anything
        line = next(iter(str(error).splitlines()), "")[:300]
        reason = f"{file.name} does not load: {type(error).__name__}: {line}"
        return Refused(option.row(refused=reason))
    tolerance = bundle.manifest.tolerance[option.precision]
    test = self_test(engine, reference, tolerance, wanted.max_batch_size)
    if test.reason is None:
        return Candidate(engine, test)
    close(engine)
    return Refused(
        option.row(
            refused=f"self-test: {test.reason}",
            differences=_differences(test),
        )
    )


def survey(
    offered: Sequence[Option],
    bundle: Bundle,
    wanted: Wanted,
    trying: Callable[[int], object] = lambda index: None,
) -> list[Row]:
    """Try options in turn; each that may serve is raced against the fastest so far.

    So no more than two are loaded at a time, and what is compared was measured together; scores
    of different races are not compared.

    Args:
        offered: what to try.
        bundle: whose artefacts they are.
        wanted: the settings.
        trying: told the index of the option that is tried next.

    Returns:
        A row for each option; that of the winner is marked.
    """
    reference = bundle.reference()
    end = time.monotonic() + TOTAL_S
    rows = [option.row(refused="not tried: the time for it was over") for option in offered]
    champion: tuple[int, Candidate] | None = None
    for index, option in enumerate(offered):
        if champion is not None and time.monotonic() > end:
            break
        trying(index)
        found = attempt(option, bundle, reference, wanted)
        if isinstance(found, Refused):
            rows[index] = found.row
            continue
        pair = {index: found} if champion is None else {champion[0]: champion[1], index: found}
        fastest = race(list(pair.values()), reference.image, wanted.max_batch_size, wanted.load)
        for each, candidate in pair.items():
            rows[each] = measured(offered[each], candidate, wanted)
            if candidate is fastest:
                champion = each, candidate
            else:
                close(candidate.engine)
    if champion is not None:
        index, winner = champion
        rows[index] = rows[index].model_copy(update={"fastest": True})
        close(winner.engine)
    return rows


def survey_apart(offered: Sequence[Option], bundle: Bundle, wanted: Wanted) -> list[Row]:
    """The rows of :func:`survey`, made in another process.

    An option that crashes the process, or hangs it, is refused and the others are tried again.
    """
    crashed: dict[int, Row] = {}
    with tempfile.TemporaryDirectory(prefix="sightline-") as directory:
        report = Path(directory) / "report"
        while True:
            left = [index for index in range(len(offered)) if index not in crashed]
            ended = _run(offered, left, bundle, wanted, report)
            last = json.loads(report.read_text().splitlines()[-1]) if report.is_file() else None
            if isinstance(last, list):
                made = dict(zip(left, map(Row.model_validate, last), strict=True))
                return [made.get(index) or crashed[index] for index in range(len(offered))]
            if last is None:
                raise StartError(f"engines cannot be tried: their process ended {ended}")
            crashed[left[last]] = offered[left[last]].row(refused=f"its process ended {ended}")
            report.unlink()


def close(engine: Engine) -> None:
    """Let go of an engine, whatever it may say to that."""
    with suppress(Exception):
        engine.close()


def measured(option: Option, candidate: Candidate, wanted: Wanted) -> Row:
    """The row of an option that has been timed."""
    return option.row(
        milliseconds={size: round(1e3 * candidate.batch_s(size), 3) for size in candidate.seconds},
        score=round(candidate.score(wanted.max_batch_size, wanted.load), 2),
        differences=_differences(candidate.test),
    )


def _differences(test: SelfTest) -> dict[str, float]:
    found = {"probabilities": test.probabilities, "cam": test.cam}
    # JSON has no infinity, and neither has a dashboard a use for it.
    return {output: value for output, value in found.items() if math.isfinite(value)}


def _run(
    offered: Sequence[Option], left: Sequence[int], bundle: Bundle, wanted: Wanted, report: Path
) -> str:
    names = [
        [offered[index].name, offered[index].precision, offered[index].device] for index in left
    ]
    job = {"bundle": str(bundle.path), "wanted": wanted.model_dump(mode="json"), "offered": names}
    command = [sys.executable, "-m", "predictor.engine.survey", str(report)]
    try:
        # Its standard output is of no use: it may hold anything that a runtime prints.
        done = subprocess.run(
            command,
            input=json.dumps(job).encode(),
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"because {PATIENCE_S:.0f} s were over"
    code = done.returncode
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"


def main() -> None:
    """Read a job from standard input, and write to the report what is tried and what was found."""
    # On Linux: with the server, this process ends too.
    with suppress(Exception):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    from predictor.engine import ENGINES

    job = json.load(sys.stdin)
    wanted = Wanted.model_validate(job["wanted"])
    offered = [Option(name, ENGINES[name], *rest) for name, *rest in job["offered"]]
    with Path(sys.argv[1]).open("a") as report:

        def write(line: object) -> None:
            report.write(json.dumps(line) + "\n")
            report.flush()

        found = survey(offered, Bundle.open(Path(job["bundle"])), wanted, trying=write)
        write([row.model_dump(mode="json") for row in found])
    # Not through the runtimes' own destructors.
    os._exit(0)


if __name__ == "__main__":
    main()
