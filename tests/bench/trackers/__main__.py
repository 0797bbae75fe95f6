"""`python -m tests.bench.trackers`: what each tracker costs a training, and what it keeps.

Writes `trackers.json`, and the tables of docs/trackers.md as `trackers.md`.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench import command
from tests.bench.trackers.contestants import Contestant, InTheStep, Unreachable
from tests.bench.trackers.measure import Round, kept, measure
from tests.bench.trackers.report import BASE, figures, markdown
from tests.bench.trackers.workload import Workload
from tests.train.mlflow_servers import serving

NAMES = (
    BASE,
    "MLflow embedded",
    "MLflow server",
    "MLflow server, dead",
    "W&B offline",
    "MLflow embedded, in the step",
    "MLflow server, in the step",
)
QUICK = Workload(steps=5, warm_up=1, artefact_mb=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure in turns, so that a machine that slows down slows all of them."""
    arguments = command.read(argv, "tests.bench.trackers", __doc__ or "", NAMES)
    # What is set on this machine is somebody's choice, and would be measured.
    for name in ("WANDB_MODE", "WANDB_API_KEY", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    names = list(dict.fromkeys([BASE, *arguments.sections]))
    work = QUICK if arguments.quick else Workload()
    rounds: dict[str, list[Round]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as scratch, _contestants(Path(scratch), names) as all_of:
        artefact = work.artefact(Path(scratch))
        # Not counted: libraries are loaded, databases and experiments created.
        for contestant in all_of:
            measure(contestant, QUICK, artefact)
        for turn in range(arguments.rounds or (1 if arguments.quick else 5)):
            for contestant in all_of:
                done = measure(contestant, work, artefact)
                rounds[contestant.name].append(done)
                print(
                    f"{turn + 1} {contestant.name}: {done.steps_s / work.steps * 1000:.2f} ms a "
                    f"step, artefact {done.artefact_s:.2f} s, end {done.end_s:.2f} s",
                    flush=True,
                )
        seen = {
            each.name: kept(each, work, artefact, rounds[each.name][0].run_id) for each in all_of
        }
    document = figures(rounds, seen, work)
    directory: Path = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "trackers.json").write_text(json.dumps(document, indent=1) + "\n")
    (directory / "trackers.md").write_text(markdown(document))
    print(markdown(document))
    return 0


@contextmanager
def _contestants(home: Path, names: Sequence[str]) -> Iterator[list[Contestant]]:
    server_home = home / "server"
    server_home.mkdir()
    database = f"sqlite:///{home / 'embedded' / 'mlflow.db'}"
    direct = f"sqlite:///{home / 'direct' / 'mlflow.db'}"
    made: list[Contestant] = []
    with serving(server_home) as server:
        all_of: list[Contestant] = [
            Contestant(BASE, home / "none", "none"),
            Contestant("MLflow embedded", home / "embedded", "mlflow", database),
            Contestant("MLflow server", home / "client", "mlflow", server.uri),
            Unreachable("MLflow server, dead", home / "dead", server),
            Contestant("W&B offline", home / "wandb", "wandb"),
            InTheStep("MLflow embedded, in the step", home / "direct", "mlflow", direct),
            InTheStep("MLflow server, in the step", home / "direct-client", "mlflow", server.uri),
        ]
        for each in all_of:
            if each.name not in names:
                continue
            if each.config.uri == server.uri:
                each.places.append(server_home)
            made.append(each)
        yield made
        shutil.rmtree(home / "read", ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
