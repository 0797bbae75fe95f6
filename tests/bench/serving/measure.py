"""One measurement after the other, in rounds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.bundle import Bundle
from tests.bench import processes
from tests.bench.recorder import Recorder, say
from tests.bench.results import Results
from tests.bench.serving.ideal import Ideal
from tests.bench.serving.images import Picture, pictures
from tests.bench.serving.load import Load, Outcome, apply
from tests.bench.serving.results import Row
from tests.bench.serving.servers import Running, Server


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        rounds: of every comparison.
        short_rounds: of those that take little time.
        window_s: that a load is counted for.
        warm_up_s: that it is not counted before that.
        concurrencies: of the closed loops.
        architectures: in this order: for like with like, for the engines' choice, for starts.
        side_px: input of the networks.
        int8: whether their bundles ship INT8.
        requests: explained ones, for the growth of memory.
        storm_s: that impatient clients come for.
        body_mb: of the body that is too large.
    """

    rounds: int = 3
    short_rounds: int = 5
    window_s: float = 3.0
    warm_up_s: float = 0.5
    concurrencies: tuple[int, ...] = (1, 10, 50, 100)
    architectures: tuple[str, str, str] = ("resnet18", "resnet50", "efficientnet_b0")
    side_px: int = 224
    int8: bool = True
    requests: int = 10_000
    storm_s: float = 5.0
    body_mb: int = 200


FULL = Scale()
QUICK = Scale(
    rounds=1,
    short_rounds=1,
    window_s=0.15,
    warm_up_s=0.05,
    concurrencies=(1, 4),
    architectures=("baseline", "baseline", "baseline"),
    side_px=32,
    int8=False,
    requests=100,
    storm_s=0.5,
    body_mb=40,
)


class Bench(Recorder[Row]):
    """What the sections measure with.

    Args:
        scale: how much.
        results: where it goes.
        bundles: where the networks are kept.
    """

    def __init__(self, scale: Scale, results: Results[Row], bundles: Path) -> None:
        super().__init__(results)
        self.scale = scale
        self._bundles = bundles

    @property
    def many(self) -> tuple[int, ...]:
        """Concurrencies of more than one client."""
        return tuple(each for each in self.scale.concurrencies if each > 1)

    def bundle(self, architecture: str) -> Bundle:
        """A network's bundle, made the first time that it is asked for."""
        from tests.bench.bundles import bundle_of

        made = bundle_of(
            architecture, self.scale.side_px, int8=self.scale.int8, directory=self._bundles
        )
        return Bundle.open(made.path.resolve())

    def pictures(self, side_px: int) -> tuple[Picture, ...]:
        return pictures(side_px, self.scale.side_px)

    def requests(self, server: Server, side_px: int) -> list[bytes]:
        """What a server is sent of pictures of this size."""
        return [server.encode(picture) for picture in self.pictures(side_px)]

    @contextmanager
    def started(self, servers: Sequence[Server]) -> Iterator[dict[str, Running]]:
        """Start them one after the other, and pause each until it is asked."""
        with ExitStack() as stack:
            running: dict[str, Running] = {}
            for server in servers:
                each = stack.enter_context(Running(server, self.results.directory / "logs"))
                seconds = each.wait_until_ready()
                say(f"  {server.name} is ready after {seconds:.1f} s")
                each.pause()
                running[server.name] = each
            yield running

    def load(
        self,
        running: Running,
        requests: Sequence[bytes],
        clients: int,
        *,
        rate: float | None = None,
        window_s: float | None = None,
    ) -> tuple[Outcome, float]:
        """Put a load on a paused server; the outcome, and the server's peak RSS in MB."""
        running.resume()
        try:
            pids = running.pids()
            processes.reset_peak(pids)
            window_s = window_s or self.scale.window_s
            outcome = apply(
                Load(
                    running.port,
                    tuple(requests),
                    clients,
                    rate,
                    self.scale.warm_up_s,
                    window_s,
                    pids,
                )
            )
            return outcome, processes.peak_rss_mb(pids)
        finally:
            running.pause()

    def row(
        self,
        running: Running,
        server: str,
        turn: int,
        image: str,
        requests: Sequence[bytes],
        clients: int,
        *,
        rate: float | None = None,
        window_s: float | None = None,
    ) -> Row:
        """Put a load on a server and keep what comes of it."""
        outcome, peak = self.load(running, requests, clients, rate=rate, window_s=window_s)
        p50, p95, p99 = (_quantile_ms(outcome.latencies_s, q) for q in (0.5, 0.95, 0.99))
        row = Row(
            section=self.section,
            round=turn,
            server=server,
            image=image,
            concurrency=clients,
            rate=None if rate is None else round(rate, 2),
            requests_per_second=round(outcome.requests_per_second, 2),
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            errors=outcome.errors,
            cpu_ms_per_request=round(1e3 * outcome.cpu_s, 2),
            client_cpu_ms_per_request=round(1e3 * outcome.client_cpu_s, 2),
            peak_rss_mb=round(peak, 1),
        )
        return self.add(row)

    def turn(
        self,
        running: Mapping[str, Running],
        servers: Sequence[Server],
        number: int,
        image: str,
        side_px: int,
        users: int,
    ) -> list[Row]:
        """Put the same load on one server after the other."""
        return [
            self.row(
                running[each.name], each.name, number, image, self.requests(each, side_px), users
            )
            for each in servers
        ]

    def alone(self, turn: int, name: str, image: str, found: Ideal) -> Row:
        """Keep what was measured without a server."""
        return self.add(
            Row(
                section=self.section,
                round=turn,
                server=name,
                image=image,
                concurrency=1,
                rate=None,
                requests_per_second=round(found.images_per_second, 2),
                p50_ms=round(1e3 * found.latency_s, 2),
                p95_ms=None,
                p99_ms=None,
                errors=0,
                cpu_ms_per_request=round(1e3 * found.cpu_s, 2),
                client_cpu_ms_per_request=0.0,
                peak_rss_mb=round(found.peak_rss_mb, 1),
            )
        )

    def add(self, row: Row) -> Row:
        self.results.rows.append(row)
        load = f"{row.concurrency:3} users" if row.rate is None else f"{row.rate:5.1f} sent/s"
        say(
            f"  {row.round} {row.server:22} {row.image:16} {load:>12}"
            f"  {row.requests_per_second:7.1f}/s"
            f"  p50 {row.p50_ms or 0:7.1f}  p99 {row.p99_ms or 0:7.1f} ms"
            f"  CPU {row.cpu_ms_per_request:6.1f} ms  {row.errors} errors"
        )
        return row


def _quantile_ms(seconds: Sequence[float], q: float) -> float | None:
    return round(1e3 * float(np.quantile(seconds, q)), 2) if seconds else None
