"""One replica acts, the others wait: by a Lease that the chart makes."""

import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from kubernetes import client
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from k8s.rollout.cluster import LEASE, Cluster

# A replica that was killed is replaced after the first of these.
DURATION_S, RENEWAL_S, RETRY_S = 15, 10, 2
_LOG = logging.getLogger(__name__)


class Leadership:
    """The Lease, and what to do with it.

    Two that both believe to lead do no harm, either: the record is written with the version that
    it was read with, and nothing is moved before it is written.

    Args:
        cluster: where the Lease is.
        name: of the Lease. It must be there: the right to make one cannot be bound to a name.
        configuration: of the official client, whose leader election this is.
    """

    def __init__(self, cluster: Cluster, name: str, configuration: client.Configuration) -> None:
        self._cluster = cluster
        self._name = name
        self.identity = f"{socket.gethostname()}-{os.getpid()}"
        client.Configuration.set_default(configuration)
        self._lock: Any = LeaseLock(name, cluster.namespace, self.identity)
        self._lost = threading.Event()

    def hold(
        self, work: Callable[[], None], beat: Callable[[], None], stop: threading.Event
    ) -> None:
        """Wait until this replica leads and then do the work, until it is done or the Lease lost.

        Args:
            work: returns when it has been told to stop.
            beat: called while another replica leads.
            stop: ends the waiting.

        Raises:
            RuntimeError: the Lease was lost; the process is to end and begin anew.
        """
        leading, done = threading.Event(), threading.Event()
        failures: list[Exception] = []

        def run() -> None:
            leading.set()
            try:
                work()
            except Exception as error:  # noqa: BLE001
                failures.append(error)
            finally:
                done.set()

        def stopped() -> None:
            self._lost.set()
            done.set()

        election = leaderelection.LeaderElection(
            electionconfig.Config(
                self._lock,
                lease_duration=DURATION_S,
                renew_deadline=RENEWAL_S,
                retry_period=RETRY_S,
                onstarted_leading=run,
                onstopped_leading=stopped,
            )
        )

        def contend() -> None:
            try:
                election.run()
            finally:
                # The client lets through what it does not know; then nobody renews any more.
                stopped()

        threading.Thread(target=contend, daemon=True).start()
        while not done.wait(1.0):
            if not leading.is_set():
                beat()
                if stop.is_set():
                    return
        if failures:
            raise failures[0]
        if self._lost.is_set():
            raise RuntimeError(f"Lease {self._name} was lost to another replica")
        self._release()

    def _release(self) -> None:
        """Let the next one begin at once."""
        lease = self._cluster.get(LEASE, self._name)
        if lease is not None and lease.get("spec", {}).get("holderIdentity") == self.identity:
            self._cluster.merge(LEASE, self._name, {"spec": {"holderIdentity": None}})
            _LOG.info("lease released", extra={"lease": self._name})
