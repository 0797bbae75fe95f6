"""`python -m train`: the steps from images to a released bundle.

    python -m train phantom DIR [--images N] [--seed N]
    python -m train fit --config FILE [key=value ...]
    python -m train folds --config FILE [--fold I] [key=value ...]
    python -m train baselines --config FILE [ARCHITECTURE[=WEIGHTS] ...] [key=value ...]
    python -m train evaluate|export|release --run DIR [key=value ...]
    python -m train compare RUN RUN [RUN ...] [--html FILE] [--json FILE]
    python -m train tune --config FILE --search FILE [key=value ...]
    python -m train retrain --config FILE [--wait [MINUTES]] [--force] [key=value ...]
    python -m train data diff RUN RUN
    python -m train track replay --run DIR [tracking.key=value ...]
    python -m train demo [--serve]
    torchrun --nproc-per-node N -m train fit --config FILE [key=value ...]

Exit codes: 0 done or nothing to do, 1 unexpected failure or that of another process, 2 an error
that is yours to mend, 3 refused by the gate, 75 what it depends on is away and the same command may
succeed later, 143 ended by SIGTERM with the state saved.
"""

import argparse
import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent

from pydantic import ValidationError

from model.bundle import validation_message
from model.cpus import usable_cpus
from model.errors import SightlineError
from train.console import Console
from train.errors import PassingError, PeerError
from train.launch import ALONE, Launch
from train.memory import keep_freed_memory

EXIT_FAILURE = 1
EXIT_ERROR = 2
EXIT_REFUSED = 3
# As `sysexits.h` has it: who runs it again later may succeed.
EXIT_AWAY = 75
EXIT_TERMINATED = 143

# Of a network file system or a connection; a full disk or a missing permission stays as it is.
_PASSING = (
    errno.EIO,
    errno.ESTALE,
    errno.EREMOTEIO,
    errno.ETIMEDOUT,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EHOSTDOWN,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one step and return the exit code."""
    # Read when torch loads OpenMP, so it is set before. By default its threads spin while they wait
    # for each other; with one other busy process on the machine, an epoch took 10 to 60 s so, and
    # 3 s like this.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Its own default is a thread per core of the node, whatever the container's quota.
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cpus()))
    keep_freed_memory()
    options = _parser().parse_args(arguments)
    launch = ALONE
    # Kubernetes ends a Job so. As an exception it closes the tracked run and the demo's server.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    try:
        launch = Launch.from_environment()
        if options.step is not _fit:
            launch.refuse_several(options.name)
        options.launch = launch
        code: int = options.step(options, Console(silent=not launch.main))
    except PeerError as error:
        # One more for each machine is enough: all of them say the same.
        if error.first or launch.local_rank == 0:
            print(f"{launch.prefix}{error}", file=sys.stderr)
        return EXIT_FAILURE
    except SightlineError as error:
        print(f"{launch.prefix}error: {error}", file=sys.stderr)
        return EXIT_AWAY if isinstance(error, PassingError) else EXIT_ERROR
    except ValidationError as error:
        print(f"{launch.prefix}error: {validation_message(error)}", file=sys.stderr)
        return EXIT_ERROR
    except OSError as error:
        # A folder that cannot be written, a full disk: the system's words name path and reason.
        print(f"{launch.prefix}error: {error}", file=sys.stderr)
        return EXIT_AWAY if error.errno in _PASSING else EXIT_ERROR
    except KeyboardInterrupt:
        print(f"{launch.prefix}interrupted", file=sys.stderr)
        return 130
    except Exception:
        if launch.alone:
            raise
        # Among the lines of other processes, each has to say whose it is.
        print(indent(traceback.format_exc(), launch.prefix), end="", file=sys.stderr)
        return EXIT_FAILURE
    finally:
        signal.signal(signal.SIGTERM, before)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train", description="Images to a gated, explained bundle in MLflow."
    )
    steps = parser.add_subparsers(required=True, metavar="STEP", dest="name")

    phantom = steps.add_parser("phantom", help="generate chest phantoms with lesion masks")
    phantom.add_argument("directory", type=Path)
    phantom.add_argument("--images", type=int, default=1500)
    phantom.add_argument("--seed", type=int, default=0)
    phantom.set_defaults(step=_phantom)

    fit = steps.add_parser("fit", help="train; writes the run directory")
    fit.add_argument("--config", type=Path, help="YAML; keys may also come from the environment")
    fit.add_argument("overrides", nargs="*", metavar="key=value")
    fit.set_defaults(step=_fit)

    folds = steps.add_parser("folds", help="cross-validate: fit and evaluate each fold")
    folds.add_argument("--config", type=Path, help="YAML; data.split.folds is their number")
    folds.add_argument("--fold", type=int, help="only this one, from 0; the last done sums up")
    folds.add_argument("overrides", nargs="*", metavar="key=value")
    folds.set_defaults(step=_folds)

    baselines = steps.add_parser(
        "baselines", help="the small CNN and pretrained backbones in one table"
    )
    baselines.add_argument("--config", type=Path, help="YAML; its model is one that is compared")
    baselines.add_argument(
        "items",
        nargs="*",
        metavar="ARCHITECTURE[=WEIGHTS] | key=value",
        help="backbones, with ImageNet's weights unless others are named; and settings",
    )
    baselines.set_defaults(step=_baselines)

    tune = steps.add_parser("tune", help="search for better settings; goes on where it was left")
    tune.add_argument("--config", type=Path, required=True, help="as for fit; of every trial")
    tune.add_argument(
        "--search", type=Path, required=True, help="YAML of what is searched, and how"
    )
    tune.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="of the configuration, or of the search as search.trials=20",
    )
    tune.set_defaults(step=_tune)

    retrain = steps.add_parser("retrain", help="fit to release, where something has changed")
    retrain.add_argument("--config", type=Path, required=True, help="as for fit")
    retrain.add_argument(
        "--wait",
        type=float,
        nargs="?",
        default=0.0,
        const=float("inf"),
        metavar="MINUTES",
        help="for another retraining of the model, for ever without a number; else leave",
    )
    retrain.add_argument("--force", action="store_true", help="also when nothing has changed")
    retrain.add_argument(
        "--lease",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long a retraining that was killed keeps others away (300)",
    )
    retrain.add_argument("overrides", nargs="*", metavar="key=value")
    retrain.set_defaults(step=_retrain)

    for name, step, text in (
        ("evaluate", _evaluate, "calibrate, and judge on the test split"),
        ("export", _export, "TorchScript, ONNX and INT8 into a bundle"),
        ("release", _release, "register the bundle and ask the gate"),
    ):
        later = steps.add_parser(name, help=text)
        later.add_argument("--run", type=Path, required=True, help="directory that fit has written")
        later.add_argument("overrides", nargs="*", metavar="key=value")
        later.set_defaults(step=step)

    side = steps.add_parser("compare", help="runs side by side: which is better, beyond noise?")
    side.add_argument("runs", nargs="+", metavar="RUN", help="directory, or id of an MLflow run")
    side.add_argument("--html", type=Path, metavar="FILE", help="write a page")
    side.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    side.add_argument("--resamples", type=int, default=2000, help="of the patients")
    side.add_argument("--tracking_uri", help="MLflow; else $MLFLOW_TRACKING_URI, else mlflow.db")
    side.set_defaults(step=_compare)

    data = steps.add_parser("data", help="look at data sets")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    difference = actions.add_parser("diff", help="what changed between two runs' data sets")
    difference.add_argument("before", type=Path, help="run directory, or the data.csv of one")
    difference.add_argument("after", type=Path)
    difference.set_defaults(step=_diff)

    track = steps.add_parser("track", help="look after what is recorded")
    actions = track.add_subparsers(required=True, metavar="ACTION")
    again = actions.add_parser("replay", help="send what the tracker's store has missed")
    again.add_argument("--run", type=Path, required=True, help="run directory, or one of several")
    again.add_argument("overrides", nargs="*", metavar="tracking.key=value")
    again.set_defaults(step=_replay)

    demo = steps.add_parser("demo", help="all of it on phantoms, and one answer over HTTP")
    demo.add_argument("--directory", type=Path, default=Path("build"))
    demo.add_argument("--serve", action="store_true", help="leave the server up")
    demo.add_argument("overrides", nargs="*", metavar="key=value")
    demo.set_defaults(step=_demo)
    return parser


# The imports below are the heavy ones (torch, mlflow); `--help` and errors do not wait for them.


def _phantom(options: argparse.Namespace, console: Console) -> int:
    from train.phantom import PhantomConfig, generate

    config = PhantomConfig(images=options.images, seed=options.seed)
    summary = generate(options.directory, config, console.bar("phantom", "images"))
    console.say(f"{options.directory}: {summary}")
    return 0


def _fit(options: argparse.Namespace, console: Console) -> int:
    from train.config import load_config

    config = load_config(options.config, options.overrides)

    from train.device import choose_device
    from train.distributed import joined
    from train.run import Run
    from train.training import run_fit

    device = choose_device(config.loop.device, options.launch)
    with joined(options.launch, device) as world:
        run_fit(Run(config, console, world=world))
    return 0


def _folds(options: argparse.Namespace, console: Console) -> int:
    from train.config import load_config

    config = load_config(options.config, options.overrides)

    from train.crossvalidation import run_folds

    run_folds(config, console, options.fold)
    return 0


def _baselines(options: argparse.Namespace, console: Console) -> int:
    from train.baselines import parse_wanted, run_baselines
    from train.config import load_config

    wanted, overrides = parse_wanted(options.items)
    run_baselines(load_config(options.config, overrides), wanted, console)
    return 0


def _tune(options: argparse.Namespace, console: Console) -> int:
    from train.config import load_config
    from train.search.config import OVERRIDE, load_search

    ours = [item for item in options.overrides if not item.startswith(OVERRIDE)]
    others = [item.removeprefix(OVERRIDE) for item in options.overrides if item not in ours]
    config, search = load_config(options.config, ours), load_search(options.search, others)

    from train.search.search import run_search

    run_search(config, search, console)
    return 0


def _retrain(options: argparse.Namespace, console: Console) -> int:
    from train.config import load_config

    config = load_config(options.config, options.overrides)

    from train.retraining.retrain import run_retrain

    wait_s, lease_s = options.wait * 60.0, options.lease
    done = run_retrain(config, console, wait_s=wait_s, lease_s=lease_s, force=options.force)
    return 0 if done else EXIT_REFUSED


def _evaluate(options: argparse.Namespace, console: Console) -> int:
    from train.evaluation import run_evaluate
    from train.run import Run

    run_evaluate(Run.open(options.run, options.overrides, console))
    return 0


def _export(options: argparse.Namespace, console: Console) -> int:
    from train.bundling import run_export
    from train.run import Run

    run_export(Run.open(options.run, options.overrides, console))
    return 0


def _release(options: argparse.Namespace, console: Console) -> int:
    from train.release import run_release
    from train.run import Run

    release = run_release(Run.open(options.run, options.overrides, console))
    return 0 if release.promoted else EXIT_REFUSED


def _compare(options: argparse.Namespace, console: Console) -> int:
    from train.comparison import describe, run_compare

    found = run_compare(
        options.runs, options.html, options.json, options.resamples, options.tracking_uri
    )
    print(describe(found))
    return 0


def _diff(options: argparse.Namespace, console: Console) -> int:
    from train.data.versions import compare, read_files

    changes = compare(read_files(options.before), read_files(options.after))
    print(changes)
    return 0


def _replay(options: argparse.Namespace, console: Console) -> int:
    from train.tracking.replay import replay

    replay(options.run, options.overrides, console)
    return 0


def _demo(options: argparse.Namespace, console: Console) -> int:
    from train.demo import run_demo

    run_demo(options.directory, options.serve, options.overrides, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
