"""Which engine and which artefact serve: decided at start, on the machine that serves.

Two machines of the same label have given opposite winners, so speed is measured and not assumed;
and what does not pass the self-test is not measured at all.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model.bundle import Bundle
from predictor.engine.base import EngineKind
from predictor.engine.race import Candidate, batch_of, race
from predictor.engine.record import Record, Row, machine, read_record, versions, write_record
from predictor.engine.survey import (
    Option,
    Refused,
    Wanted,
    attempt,
    measured,
    options,
    survey_apart,
)
from predictor.errors import StartError
from predictor.metrics import Metrics

LOGGER = logging.getLogger("sightline.engine")


Survey = Callable[[Sequence[Option], Bundle, Wanted], list[Row]]


def choose(
    bundle: Bundle,
    kinds: Mapping[str, EngineKind],
    wanted: Wanted,
    metrics: Metrics | None = None,
    survey: Survey = survey_apart,
) -> Candidate:
    """Try all that the settings allow, keep what passes the self-test, take the fastest.

    Whatever was measured or remembered, the engine that is returned has passed the self-test here
    and now, and has been run at every batch size up to the limit.

    Args:
        bundle: whose artefacts they are.
        kinds: the runtimes by name.
        wanted: the settings.
        metrics: told of self-tests and speeds.
        survey: compares several options.

    Raises:
        StartError: nothing is eligible; says why for each.
    """
    return _Choice(bundle, kinds, wanted, metrics).make(survey)


class _Choice:
    def __init__(
        self,
        bundle: Bundle,
        kinds: Mapping[str, EngineKind],
        wanted: Wanted,
        metrics: Metrics | None,
    ) -> None:
        self._bundle = bundle
        self._kinds = kinds
        self._wanted = wanted
        self._metrics = metrics
        self._reference = bundle.reference()
        self._key = _key(bundle, kinds, wanted)
        self._absent: list[str] = []
        self._offered = [each for each in options(kinds, wanted) if self._is_there(each)]

    def make(self, survey: Survey) -> Candidate:
        winner = self._remembered()
        if winner is None:
            winner = self._alone() if len(self._offered) == 1 else self._fastest(survey)
        # The largest first: what it allocates is enough for the others.
        for size in range(self._wanted.max_batch_size, 0, -1):
            winner.engine.run(batch_of(self._reference.image, size), want_cam=True)
        return winner

    def _is_there(self, option: Option) -> bool:
        reason = option.kind.unavailable(option.device)
        if reason is None and option.precision not in self._bundle.precisions:
            why = self._bundle.manifest.quantisation.reason
            reason = f"the bundle ships no {option.precision} artefact: {why}"
        if reason is not None:
            self._absent.append(f"{option}: {reason}")
            LOGGER.info("engine absent", extra=_data(reason=self._absent[-1]))
        return reason is None

    def _remembered(self) -> Candidate | None:
        """The engine that was chosen here before, if it still gives the right answers."""
        cache = self._wanted.cache
        record = read_record(cache, self._key) if cache is not None else None
        if record is None or not {1, self._wanted.max_batch_size} <= record.sizes:
            return None
        return self._open(record, remembered=True)

    def _alone(self) -> Candidate:
        """The only option; timed because the waiting of clients is guessed from its speed."""
        option, wanted = self._offered[0], self._wanted
        found = attempt(option, self._bundle, self._reference, wanted)
        if isinstance(found, Refused):
            self._tell([found.row])
            raise StartError(self._none_eligible([found.row]))
        race([found], self._reference.image, wanted.max_batch_size, wanted.load)
        record = Record(key=self._key, chosen=0, rows=[measured(option, found, wanted)])
        self._announce(record, remembered=False)
        self._keep(record)
        return found

    def _fastest(self, survey: Survey) -> Candidate:
        """The fastest of all that may serve; should it not pass here, the next one."""
        rows = survey(self._offered, self._bundle, self._wanted) if self._offered else []
        self._tell([row for row in rows if row.refused is not None])
        for index in sorted(range(len(rows)), key=lambda at: _rank(rows[at]), reverse=True):
            if rows[index].refused is None:
                record = Record(key=self._key, chosen=index, rows=rows)
                winner = self._open(record, remembered=False)
                if winner is not None:
                    self._keep(record)
                    return winner
        raise StartError(self._none_eligible(rows))

    def _open(self, record: Record, *, remembered: bool) -> Candidate | None:
        row = record.rows[record.chosen]
        option = next((each for each in self._offered if each.is_of(row)), None)
        if option is None:
            return None
        found = attempt(option, self._bundle, self._reference, self._wanted)
        if isinstance(found, Refused):
            self._tell([found.row])
            return None
        found.seconds = {size: [each / 1e3] for size, each in row.milliseconds.items()}
        self._announce(record, remembered=remembered)
        return found

    def _keep(self, record: Record) -> None:
        if self._wanted.cache is not None:
            try:
                write_record(self._wanted.cache, record)
            except OSError as error:
                reason = error.strerror or type(error).__name__
                LOGGER.warning("choice of the engine not kept", extra=_data(reason=reason))

    def _tell(self, refused: Sequence[Row]) -> None:
        for row in refused:
            LOGGER.warning("engine not eligible", extra=_data(reason=str(row)))
        self._record_tests(refused)

    def _announce(self, record: Record, *, remembered: bool) -> None:
        chosen = record.rows[record.chosen]
        data = {
            "engine": chosen.engine,
            "precision": chosen.precision,
            "device": chosen.device,
            "expected_load": self._wanted.load,
            "remembered": remembered,
            "candidates": [row.model_dump(mode="json", exclude_none=True) for row in record.rows],
        }
        LOGGER.info("engine chosen", extra={"data": data})
        self._record_tests([chosen] if remembered else record.rows)
        if self._metrics is not None:
            gauge = self._metrics.engine_images_per_second
            for row in record.rows:
                for size, milliseconds in row.milliseconds.items():
                    labels = (row.engine, row.precision, row.device, str(size))
                    gauge.labels(*labels).set(round(1e3 * size / milliseconds, 1))

    def _record_tests(self, rows: Sequence[Row]) -> None:
        if self._metrics is not None:
            for row in rows:
                labels = (row.engine, row.precision, row.device)
                self._metrics.selftest_passed.labels(*labels).set(row.refused is None)
                for output, value in row.differences.items():
                    self._metrics.selftest_difference.labels(*labels, output).set(value)

    def _none_eligible(self, rows: Sequence[Row]) -> str:
        wanted = self._wanted
        reasons = [*map(str, rows), *self._absent]
        if reasons:
            return f"{wanted}: nothing is eligible: {'; '.join(reasons)}"
        readers = [
            name
            for name, kind in self._kinds.items()
            if wanted.precision in ("auto", *kind.artefacts)
            and wanted.device in ("auto", *kind.devices)
        ]
        return (
            f"{wanted}: there is no such engine; precision {wanted.precision} on device "
            f"{wanted.device} is offered by {', '.join(readers)}"
        )


def _key(bundle: Bundle, kinds: Mapping[str, EngineKind], wanted: Wanted) -> dict[str, Any]:
    return {
        "bundle": bundle.digest,
        "wanted": wanted.model_dump(mode="json", exclude={"cache"}),
        "versions": versions(package for kind in kinds.values() for package in kind.packages),
        **machine(),
    }


def _rank(row: Row) -> tuple[bool, float]:
    return row.fastest, row.score or 0.0


def _data(**values: object) -> dict[str, object]:
    return {"data": values}
