"""One look after another: read, decide, keep the record, act, tell."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from k8s.rollout import record as records
from k8s.rollout import settings as given
from k8s.rollout.cluster import ApiError, Cluster, ConflictError, Object
from k8s.rollout.course import News, Step, World, follow
from k8s.rollout.decision import Decision
from k8s.rollout.knative import Knative
from k8s.rollout.names import Names
from k8s.rollout.observation import Counts
from k8s.rollout.prometheus import MetricsError, NotYetError, Prometheus
from k8s.rollout.record import Record, RecordError
from k8s.rollout.references import References
from k8s.rollout.settings import Configuration, Settings, SettingsError, Source
from k8s.rollout.standard import Standard
from k8s.rollout.telemetry import Telemetry

_LOG = logging.getLogger(__name__)
# What may go wrong with a look, and right with the next one.
FAILURES = (ApiError, SettingsError, RecordError, ValueError, OSError)


class Mode(Protocol):
    """How KServe runs the models."""

    @property
    def subject(self) -> Object: ...

    def look(self) -> World: ...

    def act(self, record: Record, at_s: float) -> bool: ...

    def matching(self) -> tuple[str, str]: ...

    def addresses(self) -> tuple[str, str]: ...


class Metrics(Protocol):
    """Where counts come from; see `Prometheus`."""

    def counts(self, matching: str, since_s: float, until_s: float) -> Counts: ...

    def close(self) -> None: ...


class Controller:
    """The analyst of one release.

    Args:
        cluster: the API.
        names: of the release.
        telemetry: is told what happens.
        clock: seconds since 1970.
        source: of the metrics, for its settings.

    Attributes:
        done: with the last look no rollout was under way, and nothing of it was left to do.
    """

    def __init__(
        self,
        cluster: Cluster,
        names: Names,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.time,
        source: Callable[[Source], Metrics] = lambda given: Prometheus(
            given.address, _token(given.token_file)
        ),
    ) -> None:
        self._cluster = cluster
        self._names = names
        self.telemetry = telemetry
        self._clock = clock
        self._source = source
        self._configuration: Configuration | None = None
        self.done = False
        self.interval_s = 10.0

    def look(self) -> Record:
        """Take one look and do what it comes to.

        Whatever it does, it does because the record says so, and the record is kept before: a look
        that breaks off anywhere is made good by the next one.

        Raises:
            ApiError: the API refused or did not answer; a ConflictError if somebody else has
                written the record meanwhile.
            SettingsError, RecordError: what is in the cluster cannot be used.
        """
        configuration = given.read(self._cluster, self._names, self._configuration)
        self._configuration = configuration
        self.interval_s = configuration.settings.interval_s
        mode = _mode(self._cluster, self._names, configuration)
        kept = records.read(self._cluster, self._names)
        world = mode.look()
        before = kept.record or Record()
        at_s = self._clock()

        def observe(since_s: float) -> tuple[Counts, Counts] | None:
            return self._observe(configuration.settings, mode, since_s, at_s)

        step = follow(configuration.settings.policy, before, world, observe, kept.request, at_s)
        if step.record != kept.record or kept.request:
            owner = configuration.owner
            records.write(self._cluster, self._names, step.record, kept.version, owner)
        self.done = mode.act(step.record, at_s)
        self._tell(mode, step, at_s)
        if step.decision is not None and step.decision.probe_requests:
            self._probe(configuration.settings, mode, step.decision)
        return step.record

    def run(self, stopping: Callable[[float], bool], *, until_done: bool = False) -> Record:
        """Look until it is time to stop.

        Args:
            stopping: waits for so many seconds, and says whether to stop.
            until_done: stop also when no rollout is under way, and nothing of it is left to do.
        """
        while True:
            wait_s, record = self.interval_s, None
            try:
                record = self.look()
                self.telemetry.ready = True
            except ConflictError as error:
                self.telemetry.failed("conflict")
                _LOG.info("somebody else has written; again", extra={"error": str(error)})
                wait_s = min(1.0, wait_s)
            except FAILURES as error:
                self.telemetry.failed("look")
                _LOG.error("a look failed; the next follows", extra={"error": str(error)})
            self.telemetry.beat()
            if record is not None and until_done and self.done:
                return record
            if stopping(wait_s):
                return record or Record()

    def _observe(
        self, settings: Settings, mode: Mode, since_s: float, until_s: float
    ) -> tuple[Counts, Counts] | None:
        source = settings.prometheus
        metrics = self._source(source)
        try:
            primary, target = (
                metrics.counts(",".join(filter(None, (source.matchers, side))), since_s, until_s)
                for side in mode.matching()
            )
        except NotYetError:
            return None
        except MetricsError as error:
            self.telemetry.failed("metrics")
            _LOG.warning("no metrics", extra={"error": str(error)})
            return None
        finally:
            metrics.close()
        return primary, target

    def _probe(self, settings: Settings, mode: Mode, decision: Decision) -> None:
        references = settings.references
        if not references.folder:
            _LOG.warning("reference requests are wanted, and references.folder is empty")
            return
        token = _token(references.token_file)
        sender = References(Path(references.folder), settings.model_name, token)
        try:
            count = decision.probe_requests
            sent = sender.send(mode.addresses(), count, decision.state.probed - count)
        finally:
            sender.close()
        _LOG.info("reference requests sent", extra={"requests": sent})

    def _tell(self, mode: Mode, step: Step, at_s: float) -> None:
        record, decision = step.record, step.decision
        self.telemetry.standing(record)
        if decision is not None:
            self.telemetry.decided(decision)
        for news in step.news:
            self._log(news, record)
            try:
                self._cluster.tell(mode.subject, news.reason, news.message, warning=news.warning)
            except ApiError as error:
                # It has happened all the same, and the record says so.
                _LOG.warning("an event was lost", extra={"error": str(error)})

    def _log(self, news: News, record: Record) -> None:
        extra = {
            "reason": news.reason,
            "phase": record.phase,
            "weight_percent": record.weight_percent,
            "release": record.state.release,
        }
        _LOG.log(logging.WARNING if news.warning else logging.INFO, news.message, extra=extra)


def _mode(cluster: Cluster, names: Names, configuration: Configuration) -> Mode:
    if configuration.settings.mode == "Knative":
        return Knative(cluster, names, configuration)
    return Standard(cluster, names, configuration)


def _token(file: str) -> str:
    """The first line of a file, or nothing."""
    if not file:
        return ""
    lines = Path(file).read_text(encoding="utf-8").split()
    return lines[0] if lines else ""
