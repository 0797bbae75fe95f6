"""`python -m k8s.rollout COMMAND --name RELEASE --namespace NAMESPACE`, or `compare`."""

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Sequence

from k8s.rollout import record as records
from k8s.rollout.agreement import add_compare
from k8s.rollout.cluster import CONFIG_MAP, ApiError, Cluster, KubernetesTransport
from k8s.rollout.controller import FAILURES, Controller
from k8s.rollout.course import REQUESTS
from k8s.rollout.leadership import Leadership
from k8s.rollout.names import REQUEST, Names
from k8s.rollout.record import Record
from k8s.rollout.telemetry import Door, JsonLines, Telemetry

# As of `python -m train release`: it worked, and the model was not good enough.
ROLLED_BACK = 3
_MEANING = {
    "promote": "give the target everything, whatever was seen",
    "pause": "stay at the step; only a rollback is still decided",
    "resume": "go on after a pause, or begin the time of an overdue step anew",
    "abort": "give the primary everything, and do not try this release again",
    "retry": "try the release that was rolled back once more",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0; 1 if it failed; with `--until-done` 3 if the target was rolled back.
    """
    arguments = parser().parse_args(argv)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("leaderelection").setLevel(logging.WARNING)
    try:
        return int(arguments.act(arguments))
    except (*FAILURES, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser("python -m k8s.rollout", description=__doc__)
    commands = found.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="look again and again, as one of several replicas")
    _about(run)
    run.add_argument("--port", type=int, default=8080, help="of metrics and probes")
    run.add_argument(
        "--until-done",
        action="store_true",
        help="without a Lease, and stop when no rollout is under way; 3 if it was rolled back",
    )
    run.set_defaults(act=_run)

    once = commands.add_parser("once", help="take one look")
    _about(once)
    once.set_defaults(act=_once)

    status = commands.add_parser("status", help="say where the rollout is, as JSON")
    _about(status)
    status.set_defaults(act=_status)

    add_compare(commands)

    for request in REQUESTS:
        asked = commands.add_parser(request, help=_MEANING[request])
        _about(asked)
        asked.set_defaults(act=_ask, request=request)
    return found


def _about(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", required=True, help="of the release")
    command.add_argument("--namespace", default="default")
    command.add_argument("--context", help="of the kubeconfig, outside a cluster")


def _run(arguments: argparse.Namespace) -> int:
    transport = KubernetesTransport(arguments.context)
    cluster, names = Cluster(transport, arguments.namespace), Names(arguments.name)
    telemetry = Telemetry()
    controller = Controller(cluster, names, telemetry)
    stop = threading.Event()
    before = {
        each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGTERM, signal.SIGINT)
    }
    door = Door(telemetry, arguments.port)
    try:
        if arguments.until_done:
            return _outcome(controller.run(stop.wait, until_done=True))
        telemetry.ready = True
        leadership = Leadership(cluster, names.analyst, transport.configuration)

        def lead() -> None:
            telemetry.lead()
            controller.run(stop.wait)

        leadership.hold(lead, telemetry.beat, stop)
        return 0
    finally:
        door.close()
        for each, handler in before.items():
            signal.signal(each, handler)


def _once(arguments: argparse.Namespace) -> int:
    cluster = Cluster(KubernetesTransport(arguments.context), arguments.namespace)
    record = Controller(cluster, Names(arguments.name), Telemetry()).look()
    return _said(record)


def _status(arguments: argparse.Namespace) -> int:
    cluster = Cluster(KubernetesTransport(arguments.context), arguments.namespace)
    kept = records.read(cluster, Names(arguments.name))
    if kept.record is None:
        raise ApiError(404, f"no rollout of {arguments.namespace}/{arguments.name} is known")
    return _said(kept.record)


def _ask(arguments: argparse.Namespace) -> int:
    cluster = Cluster(KubernetesTransport(arguments.context), arguments.namespace)
    names = Names(arguments.name)
    patch = {"metadata": {"annotations": {REQUEST: arguments.request}}}
    if cluster.merge(CONFIG_MAP, names.record, patch) is None:
        raise ApiError(404, f"no rollout of {arguments.namespace}/{arguments.name} is known")
    return 0


def _said(record: Record) -> int:
    last = record.state.last
    said = {
        "phase": record.phase,
        "weight_percent": record.weight_percent,
        "primary": record.primary.revision if record.primary else None,
        "target": record.state.release,
        "rejected": record.rejected,
        "last": last.model_dump(mode="json") if last else None,
    }
    sys.stdout.write(json.dumps(said, indent=2) + "\n")
    return 0


def _outcome(record: Record) -> int:
    _said(record)
    return 0 if record.ended and not record.rejected else ROLLED_BACK


if __name__ == "__main__":
    sys.exit(main())
