"""Standard mode: two InferenceServices, and an HTTPRoute that divides the requests."""

from k8s.rollout import route as routes
from k8s.rollout.cluster import DEPLOYMENT, HTTP_ROUTE, INFERENCE_SERVICE, Cluster, Object
from k8s.rollout.course import World
from k8s.rollout.names import MOVED_AT, STOP, Names, workload
from k8s.rollout.record import Record, Release
from k8s.rollout.scaler import hold
from k8s.rollout.service import (
    answers,
    covers,
    marked,
    primary_of,
    release_of,
    restored,
    serves,
    stopped,
)
from k8s.rollout.settings import Configuration


class Standard:
    """The cluster as it is, and as a record wants it.

    Args:
        cluster: the API.
        names: of the release.
        configuration: of the analyst.
    """

    def __init__(self, cluster: Cluster, names: Names, configuration: Configuration) -> None:
        self._cluster = cluster
        self._names = names
        self._configuration = configuration
        self._target: Object | None = None
        self._primary: Object | None = None
        self._route: Object | None = None

    @property
    def subject(self) -> Object:
        """What Events are about."""
        return self._target or self._configuration.source

    def look(self) -> World:
        """Read everything that counts."""
        get, names = self._cluster.get, self._names
        self._target = _living(get(INFERENCE_SERVICE, names.target))
        self._primary = _living(get(INFERENCE_SERVICE, names.primary))
        self._route = get(HTTP_ROUTE, names.route)
        target, primary = self._target, self._primary
        theirs, ours = self._deployment(target), self._deployment(primary)
        return World(
            target=None if target is None else release_of(target),
            target_ready=serves(target, theirs),
            target_answers=answers(target, theirs),
            primary=None if primary is None else marked(primary["spec"]),
            primary_ready=serves(primary, ours),
            primary_answers=_available(ours),
            found=None if primary is None else restored(primary),
            primary_replicas=_replicas(ours),
            target_replicas=_replicas(theirs),
            weight_percent=routes.weight_of(self._route, names.target),
            moved_at_s=routes.moved_at_s(self._route),
        )

    def act(self, record: Record, at_s: float) -> bool:
        """Make the cluster what the record wants; what is so already is left alone.

        Returns:
            whether no rollout is under way, and the target is stopped.
        """
        if record.primary is not None:
            self._serve(record.primary)
        if not record.ended:
            self._start()
        scaling = self._configuration.settings.autoscaling
        replicas = max(scaling.min_replicas, 0 if record.ended else record.least_replicas)
        hold(self._cluster, scaling.type, self._names.primary, replicas)
        self._divide(record.weight_percent, at_s)
        return record.ended and self._stop(record, at_s)

    def matching(self) -> tuple[str, str]:
        """Label matchers of the primary's and the target's series."""
        label = "serving_kserve_io_inferenceservice"
        return f'{label}="{self._names.primary}"', f'{label}="{self._names.target}"'

    def addresses(self) -> tuple[str, str]:
        """Where primary and target are asked directly."""
        port = self._configuration.settings.references.port
        hosts = (
            f"{workload(name)}.{self._cluster.namespace}.svc"
            for name in (self._names.primary, self._names.target)
        )
        primary, target = (f"http://{host}:{port}" for host in hosts)
        return primary, target

    def _deployment(self, service: Object | None) -> Object | None:
        if service is None or stopped(service):
            return None
        return self._cluster.get(DEPLOYMENT, workload(service["metadata"]["name"]))

    def _serve(self, release: Release) -> None:
        wanted = primary_of(release, self._names.target, self._names.primary)
        live = self._primary
        if live is not None and covers(live["spec"], wanted["spec"]):
            return
        wanted["metadata"]["ownerReferences"] = [self._configuration.owner]
        self._cluster.apply(INFERENCE_SERVICE, self._names.primary, wanted)

    def _divide(self, weight_percent: int, at_s: float) -> None:
        names = self._names
        template = self._configuration.route
        wanted = routes.divided(template, names.target, names.primary, weight_percent)
        moved = routes.weight_of(self._route, names.target) != weight_percent
        if not moved and routes.same(self._route, wanted):
            return
        moved_at_s = at_s if moved else routes.moved_at_s(self._route)
        wanted["metadata"]["annotations"][MOVED_AT] = f"{moved_at_s:.3f}"
        wanted["metadata"]["ownerReferences"] = [self._configuration.owner]
        self._route = self._cluster.apply(HTTP_ROUTE, names.route, wanted)

    def _start(self) -> None:
        if self._target is not None and stopped(self._target):
            self._mark(None)

    def _stop(self, record: Record, at_s: float) -> bool:
        """Once the gateway has surely heard that there is nothing for the target any more."""
        if self._target is None:
            return True
        if release_of(self._target).revision not in (record.serving, record.rejected):
            return False
        if stopped(self._target):
            return True
        settle_s = self._configuration.settings.policy.settle_s
        settled = at_s - routes.moved_at_s(self._route) >= settle_s
        if settled:
            self._mark("true")
        return settled

    def _mark(self, value: str | None) -> None:
        patch = {"metadata": {"annotations": {STOP: value}}}
        self._cluster.merge(INFERENCE_SERVICE, self._names.target, patch)


def _replicas(deployment: Object | None) -> int:
    return 0 if deployment is None else int(deployment["spec"].get("replicas", 1))


def _available(deployment: Object | None) -> bool:
    status = {} if deployment is None else deployment.get("status", {})
    return bool(status.get("availableReplicas", 0))


def _living(service: Object | None) -> Object | None:
    """None for one that is being deleted, too."""
    if service is None or service["metadata"].get("deletionTimestamp"):
        return None
    return service
