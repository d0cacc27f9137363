"""Simulated clusters that run: `Simulator` starts and stops them, `RunningCluster` is one of them as a test sees it."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trustme

from local.lifeline import Lifeline
from local.simulator import certificates
from local.simulator.cluster import SimulatedCluster
from local.simulator.errors import SimulatorError
from local.simulator.server import ClusterServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from local.simulator.certificates import Identity
    from local.simulator.faults import Fault
    from local.simulator.spec import ClusterSpec


class RunningCluster:
    """One cluster that listens: where it is, how to log in, whom to trust, and how to hurt it."""

    def __init__(self, spec: ClusterSpec, authority: trustme.CA, folder: Path) -> None:
        self.cluster = SimulatedCluster(spec)
        self._folder = folder
        self._identity_lock = threading.Lock()
        alone = spec.self_signed or spec.tls == "element"
        first = self._self_signed() if alone else certificates.issued(authority, spec.name, folder)
        self._identities = [first]
        self.ca_pem = first.authority_pem
        self.ca_file = folder / f"{spec.name}-ca.pem"
        self.ca_file.write_text(self.ca_pem)
        try:
            self._server = ClusterServer(self.cluster, self._identity)
        except (OSError, OverflowError) as error:
            why = str(error).rstrip(".")
            raise SimulatorError(f"Cluster {spec.name} cannot listen on {spec.host} port {spec.port}: {why}.") from None

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.cluster.spec.name

    @property
    def mvip(self) -> str:
        """Address and port, an IPv6 address in brackets."""
        host = self.cluster.spec.host
        return f"[{host}]:{self._server.port}" if ":" in host else f"{host}:{self._server.port}"

    @property
    def url(self) -> str:
        """Where the cluster's HTTPS server is, without a path."""
        return f"https://{self.mvip}"

    @property
    def username(self) -> str:
        """The cluster administrator account."""
        return self.cluster.username

    @property
    def password(self) -> str:
        """The password valid now."""
        return self.cluster.password

    @property
    def certificate_fingerprint(self) -> str:
        """SHA-256 of the certificate presented now, as pairs of hex digits between colons."""
        return self._identity().fingerprint

    def registration(self) -> dict[str, str]:
        """What the application keeps of a cluster in its secret; the trust in it is in its first certificate."""
        trust = (
            {"certificateFingerprint": self._identities[0].fingerprint}
            if self.cluster.spec.tls == "element"
            else {"caBundle": self.ca_pem}
        )
        return {"mvip": self.mvip, "username": self.username, "password": self.password} | trust

    def inject(self, *rules: Fault) -> None:
        """Puts fault rules into force, in this order."""
        epoch = self.cluster.epoch
        for rule in rules:
            self.cluster.inject(rule)
        if self.cluster.epoch != epoch:
            self._server.close_idle_connections()

    def clear_faults(self) -> None:
        """Takes all rules out and ends the conditions they made."""
        self.cluster.clear_faults()

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def stop(self) -> None:
        """Ends all connections and frees the port."""
        self._server.stop()

    def _identity(self) -> Identity:
        number = self.cluster.certificate
        with self._identity_lock:
            while len(self._identities) <= number:
                self._identities.append(self._self_signed())
            return self._identities[number]

    def _self_signed(self) -> Identity:
        made = certificates.as_documented if self.cluster.spec.tls == "element" else certificates.self_signed
        return made(self.name, self._folder)


class Simulator:
    """Several clusters under one CA. A context manager; `start` and `stop` do the same by hand.

    Raises:
        SimulatorError: two clusters have one name, or an address is taken.
    """

    def __init__(self, specs: Iterable[ClusterSpec]) -> None:
        self._specs = tuple(specs)
        names = [spec.name for spec in self._specs]
        if len(set(names)) != len(names):
            raise SimulatorError("Two simulated clusters cannot have the same name.")
        self._clusters: dict[str, RunningCluster] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lifeline: Lifeline | None = None

    def start(self) -> Self:
        """Starts all clusters; if one cannot start, none is left running."""
        try:
            # Removed by `stop`, which may be far from here; and by the lifeline, where nothing can be called any more.
            self._folder = tempfile.TemporaryDirectory(prefix="element-simulator-")
            self._lifeline = Lifeline('rm -rf -- "$1"', self._folder.name)
            authority = trustme.CA()
            for spec in self._specs:
                self._clusters[spec.name] = RunningCluster(spec, authority, Path(self._folder.name))
            for running in self._clusters.values():
                running.start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stops all clusters and removes their files. Harmless when nothing runs."""
        for running in self._clusters.values():
            running.stop()
        self._clusters.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None

    def __getitem__(self, name: str) -> RunningCluster:
        return self._clusters[name]

    def __iter__(self) -> Iterator[RunningCluster]:
        return iter(tuple(self._clusters.values()))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
