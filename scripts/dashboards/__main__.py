"""Write the chart's Grafana dashboards.

With --check nothing is written, and the exit status is 1 if something is not current.
"""

import argparse
import json
import sys
from pathlib import Path

from scripts.dashboards.model import MODEL
from scripts.dashboards.rollout import ROLLOUT
from scripts.dashboards.serving import SERVING
from scripts.dashboards.training import TRAINING

FOLDER = Path(__file__).parents[2] / "helm/sightline/dashboards"
ALL = (SERVING, MODEL, ROLLOUT, TRAINING)


def wanted(folder: Path) -> dict[Path, str]:
    """The files and what they should hold."""
    return {
        folder / f"{each.name}.json": json.dumps(each.to_json(ALL), indent=2) + "\n" for each in ALL
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether they are current")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="(%(default)s)")
    options = parser.parse_args()
    texts = wanted(options.folder)
    stale = {
        file: text for file, text in texts.items() if not file.is_file() or file.read_text() != text
    }
    left_over = set(options.folder.glob("*.json")) - set(texts)
    if options.check:
        for file in sorted({*stale, *left_over}):
            print(f"{file.name} is not current; run `make dashboards`", file=sys.stderr)
        return 1 if stale or left_over else 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for file, text in stale.items():
        file.write_text(text)
        print(file)
    for file in left_over:
        file.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
