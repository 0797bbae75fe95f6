"""`python -m tests.monitoring.draw`: every dashboard as a picture, of a rollout that is played."""

import argparse
import tempfile
import time
from pathlib import Path

from k8s.rollout.state import Verdict
from tests.monitoring.live import Watched, watched
from tests.monitoring.picture import Picture
from tests.monitoring.queries import DASHBOARDS
from tests.predictor.bundles import make_bundle

STEPS_PERCENT = (0, 5, 25, 50)


def play(running: Watched, seconds: float) -> None:
    """Load, and a rollout of four steps."""
    running.load.weights = [1.0, 0.0]
    running.load.start()
    for step, percent in enumerate(STEPS_PERCENT):
        running.load.weights = [1 - percent / 100, percent / 100]
        end = time.monotonic() + seconds / len(STEPS_PERCENT)
        while time.monotonic() < end:
            running.analyst.looked(Verdict.CONTINUE, step, percent)
            time.sleep(2)
        running.analyst.looked(Verdict.ADVANCE, step, percent)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.monitoring.draw", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="of load (%(default)s)")
    parser.add_argument(
        "--folder", type=Path, default=Path("build/dashboards"), help="(%(default)s)"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(Path(folder) / "bundle")
        with watched(bundle, Path(folder)) as running:
            try:
                play(running, options.seconds)
                for name, dashboard in DASHBOARDS.items():
                    file = options.folder / f"{name}.png"
                    Picture(dashboard, running.prometheus, options.seconds).save(file)
                    print(file)
            finally:
                running.load.stop()


if __name__ == "__main__":
    main()
