"""A stage without sockets and tables, light enough for thousands of runs: the real definition, handlers and client.

The ledger is the fake that is held to the same contract as the real one; the topic keeps what it was given.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from element_rekey.codec import encode
from element_rekey.element_api import ElementApi
from element_rekey.errors import ClusterNotRegistered
from element_rekey.model import Lock, Registered, Registration
from element_rekey.notifications import notification_of
from element_rekey.ports import Ports
from local.simulator import ClusterSpec, SimulatedCluster
from tests.fakes import FakeLedger
from tests.reliability.sabotage import Saboteur
from tests.reliability.wire import fingerprint, without_sockets
from tests.workflow.clock import BEGIN, VirtualTime
from tests.workflow.stage import SETTINGS, Stage, staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from element_rekey.model import Rotation
    from element_rekey.ports import ElementCluster

NAME = "prod-a"
DEMAND = {"cluster": NAME, "keyCreatedAfter": BEGIN.isoformat()}
"""The same demand whoever states it and however often: a key made after the story began."""
EXTERNAL = DEMAND | {"keyManagementType": "External", "keyProviderID": 15}
REKEY = "RekeySoftwareEncryptionAtRestMasterKey"


@dataclass
class Directory:
    """``ports.Clusters`` without Secrets Manager; each connection is a new client, as in a new container."""

    clusters: dict[str, SimulatedCluster]
    clock: Callable[[], Any]
    registrations: dict[str, Registration] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, cluster in self.clusters.items():
            self.registrations[name] = Registration(
                mvip=name,
                username=cluster.username,
                password=cluster.password,
                certificate_fingerprint=fingerprint(cluster),
            )

    def connect(self, cluster: str) -> ElementCluster:
        if cluster not in self.registrations:
            raise ClusterNotRegistered(f"There is no registration of {cluster}.", cluster=cluster)
        known = self.registrations
        return ElementApi(cluster, known[cluster], refresh=lambda: known[cluster], clock=self.clock)

    def registered(self) -> tuple[Registered, ...]:
        return tuple(Registered(name) for name in self.registrations)


@dataclass
class Board:
    """``ports.Topic`` that keeps every notification it accepted."""

    accepted: list[dict[str, Any]] = field(default_factory=list)

    def publish(self, rotation: Rotation) -> None:
        self.accepted.append(encode(notification_of(rotation)))

    def publish_summary(self, *_: object) -> None:
        """Nothing: no fleets here."""

    def of(self, arn: str) -> list[dict[str, Any]]:
        """The notifications of one execution; a repeated delivery counts once."""
        by_id = {told["notificationID"]: told for told in self.accepted if told["executionArn"] == arn}
        return list(by_id.values())


class LightStage(Stage):
    """See the module."""

    def __init__(self, time: VirtualTime, cluster: SimulatedCluster) -> None:
        super().__init__(time)
        self.cluster = cluster
        self.ledger = FakeLedger()
        self.board = Board()
        self.directory = Directory({NAME: cluster}, time)
        self.ports = Ports(self.directory, self.ledger, self.board, time, SETTINGS)
        self.saboteur = Saboteur(time)

    def run_function(self, function: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        """Call a function under the eyes of the saboteur."""
        return self.saboteur.run_function(function, event, self.ports)

    def lock(self) -> Lock | None:
        """The lock, if somebody holds it now."""
        held = self.ledger.lock(NAME)
        return held if held and held.lease_until > self.time() else None

    def lock_seconds(self) -> float:
        """For how many seconds from now the lock is held."""
        held = self.lock()
        return (held.lease_until - self.time()).total_seconds() if held else 0.0

    def own_rekeys(self) -> int:
        """How many rekeys we had the cluster begin."""
        return sum(rekey.own for rekey in self.cluster.rekeys)


@contextmanager
def light(spec: ClusterSpec | None = None) -> Iterator[LightStage]:
    """A light stage with one cluster; its clock is the stage's."""
    time = VirtualTime()
    cluster = SimulatedCluster(replace(spec or ClusterSpec(rekey_seconds=20.0), name=NAME, clock=time))
    with without_sockets({NAME: cluster}, time.sleep), staged(time, lambda: LightStage(time, cluster)) as made:
        yield cast("LightStage", made)
