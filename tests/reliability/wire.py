"""The way to simulated clusters without sockets: the client's own code above, the simulator's own below.

It takes the place of ``element_rekey.element.transport``, whose behaviour on real sockets its own tests show. What
would take time there (a cluster that stalls, or drips) takes virtual time here.
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import contextmanager
from email.utils import format_datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from element_rekey.element import client
from element_rekey.element.transport import AnswerLate, AnswerUnusable, HttpAnswer, Timeouts, clock_offset
from element_rekey.errors import CertificateRefused, ClusterUnavailable
from local.simulator.protocol import HttpRequest, Manner, reply_to
from tests.certificates import bare_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from element_rekey.records import Registration
    from local.simulator import SimulatedCluster

LIMITS = Timeouts()


class Wire:
    """``element_rekey.element.transport.Transport`` to one simulated cluster."""

    def __init__(
        self, name: str, cluster: SimulatedCluster, registration: Registration, advance: Callable[[float], Any]
    ) -> None:
        self._name = name
        self._cluster = cluster
        self._advance = advance
        token = b64encode(f"{registration.username}:{registration.password}".encode()).decode()
        self._authorization = f"Basic {token}"
        self._trusted = registration.certificate_fingerprints
        self.presented = b""
        self._epoch: int | None = None

    def post(self, path: str, body: bytes, *, fresh_connection: bool, patience: float | None = None) -> HttpAnswer:
        """One request, one answer. Raises as the real one does."""
        if fresh_connection or self._epoch != self._cluster.epoch:
            self._connect()
        sent_at = self._cluster.spec.clock()
        reply = reply_to(self._cluster, HttpRequest("POST", path, self._authorization, body))
        if reply.manner is not Manner.WHOLE:
            self._epoch = None
            late = {Manner.STALL: patience or LIMITS.read, Manner.DRIP: patience or LIMITS.total}.get(reply.manner)
            self._advance(late or 0.0)
            failure = AnswerLate if late else AnswerUnusable
            raise failure(f"the connection failed before a whole answer came ({reply.manner})")
        date = format_datetime(self._cluster.cluster_time(), usegmt=True)
        return HttpAnswer(reply.status, reply.body, clock_offset(date, sent_at, self._cluster.spec.clock()))

    def close(self) -> None:
        """Drop the connection."""
        self._epoch = None

    def _connect(self) -> None:
        if self._cluster.refuses_connection():
            raise ClusterUnavailable(f"No connection to {self._name}: it was refused.", cluster=self._name)
        self._epoch = self._cluster.epoch
        presented = fingerprint(self._cluster)
        self.presented = bare_certificate(self._cluster.certificate)
        if presented not in self._trusted:
            self._epoch = None
            what = f"The certificate of {self._name} is refused. Its fingerprint is {presented}."
            raise CertificateRefused(what, cluster=self._name)


def fingerprint(cluster: SimulatedCluster) -> str:
    """SHA-256 of the certificate the cluster presents now."""
    return sha256(bare_certificate(cluster.certificate)).hexdigest()


@contextmanager
def without_sockets(clusters: dict[str, SimulatedCluster], advance: Callable[[float], Any]) -> Iterator[None]:
    """Have every client made in here reach these clusters, by their names, without a socket."""

    def wire(name: str, registration: Registration, _timeouts: Timeouts, _clock: Callable[[], datetime]) -> Wire:
        return Wire(name, clusters[registration.mvip], registration, advance)

    with patch.object(client, "Transport", wire):
        yield
