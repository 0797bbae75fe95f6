"""`python -m tests.bench.rollout`: how often the analyst is wrong, by simulation.

Writes `rollout.json`, and the table of docs/rollout.md as `rollout.md`.
"""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

from tests.bench import command
from tests.bench.rollout.report import Kind, figures, goals, kinds, markdown
from tests.bench.rollout.scenario import SCENARIOS
from tests.bench.rollout.simulation import Ended, simulate

# Of each kind; more of those that goals are about, and less of those that take hours of looks.
_ROLLOUTS, _QUICK = 200, 10
_OF = {
    "no_difference": 600,
    "errors_doubled": 600,
    "low_traffic": 60,
    "errors_doubled_at_low_traffic": 60,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate on all CPUs."""
    scenarios = {scenario.name: scenario for scenario in SCENARIOS}
    arguments = command.read(argv, "tests.bench.rollout", __doc__ or "", scenarios)
    ended: dict[str, list[Ended]] = {}
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for name in arguments.sections:
            many = _QUICK if arguments.quick else _OF.get(name, _ROLLOUTS)
            rollouts = arguments.rounds or many
            tasks = repeat(scenarios[name]), range(rollouts)
            ended[name] = list(pool.map(simulate, *tasks, chunksize=5))
            print(f"{name}: {rollouts} rollouts", flush=True)
            _write(kinds(ended), arguments.directory)
    all_of = kinds(ended)
    print(markdown(all_of))
    for goal, met in goals(all_of).items():
        print(f"{'met' if met else 'MISSED'}: {goal}")
    return 0


def _write(of: Sequence[Kind], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "rollout.json").write_text(json.dumps(figures(of), indent=1) + "\n")
    (directory / "rollout.md").write_text(markdown(of))


if __name__ == "__main__":
    raise SystemExit(main())
