"""A harness without sockets and tables, light enough for thousands of runs: the real definition, handlers and client.

The ledger is the fake that is held to the same contract as the real one; the topic keeps what it was given.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from element_rekey.aws.executions import StepFunctionsExecutions
from element_rekey.codec import encode
from element_rekey.element.client import ElementApi
from element_rekey.errors import AwsCallFailed, ClusterNotRegistered
from element_rekey.notifications import build_notice, build_notification, build_outside
from element_rekey.ports import Ports
from element_rekey.reconcile import Machines, reconcile_rotations
from element_rekey.records import Lock, Registered, Registration
from element_rekey.summary import build_summary
from local.simulator import ClusterSpec, SimulatedCluster
from tests.fakes import FakeLedger
from tests.reliability.fault_injection import FaultInjector
from tests.reliability.wire import fingerprint, without_sockets
from tests.workflow.clock import BEGIN, VirtualClock
from tests.workflow.harness import PASSWORD, SETTINGS, WorkflowHarness, harness_on_moto

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from element_rekey.outcomes import NoticeKind
    from element_rekey.ports import ElementCluster
    from element_rekey.records import ClusterResult, FleetRun, OutsideChange, Rotation

NAME = "prod-a"
DEMAND = {"cluster": NAME, "keyCreatedAfter": BEGIN.isoformat()}
"""The same demand whoever states it and however often: a key made after the scenario began."""
EXTERNAL = DEMAND | {"keyManagementType": "External", "keyProviderID": 15}
REKEY = "RekeySoftwareEncryptionAtRestMasterKey"


@dataclass
class SimulatedClusters:
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

    def connect(self, cluster: str, *, afresh: bool = False) -> ElementCluster:  # noqa: ARG002 - it always is
        if cluster not in self.registrations:
            raise ClusterNotRegistered(f"There is no registration of {cluster}.", cluster=cluster)
        known = self.registrations
        return ElementApi(cluster, known[cluster], refresh=lambda: known[cluster], clock=self.clock)

    def registered(self, names: Collection[str] | None = None) -> tuple[Registered, ...]:
        return tuple(Registered(name) for name in self.registrations if names is None or name in names)


@dataclass
class RecordingTopic:
    """``ports.Topic`` that keeps every notification it accepted."""

    deliveries: list[dict[str, Any]] = field(default_factory=list)
    notices: list[dict[str, Any]] = field(default_factory=list)
    outside: list[dict[str, Any]] = field(default_factory=list)
    summaries: list[dict[str, Any]] = field(default_factory=list)
    on_summary: Callable[[FleetRun, Sequence[ClusterResult]], None] = lambda _run, _results: None
    answers: list[bool] = field(default_factory=list)
    """How the next publications fail: whether the topic has taken what it says it has not."""

    def publish(self, rotation: Rotation) -> None:
        self._take(self.deliveries, encode(build_notification(rotation)))

    def publish_notice(self, rotation: Rotation, kind: NoticeKind, detail: str) -> None:
        self.notices.append(encode(build_notice(rotation, kind, detail)))

    def publish_outside(self, rotation: Rotation, change: OutsideChange) -> None:
        self._take(self.outside, encode(build_outside(rotation, change)))

    def publish_summary(self, run: FleetRun, results: Sequence[ClusterResult]) -> None:
        self.on_summary(run, results)
        self._take(self.summaries, encode(build_summary(run, results)))

    def _take(self, into: list[dict[str, Any]], published: dict[str, Any]) -> None:
        fails = bool(self.answers)
        if not fails or self.answers.pop(0):
            into.append(published)
        if fails:
            raise AwsCallFailed("SNS did not answer.")

    def notifications_of(self, arn: str) -> list[dict[str, Any]]:
        """The notifications of one execution; a repeated delivery counts once."""
        by_id = {
            notification["notificationID"]: notification
            for notification in self.deliveries
            if notification["executionArn"] == arn
        }
        return list(by_id.values())


class InMemoryHarness(WorkflowHarness):
    """See the module."""

    def __init__(self, clock: VirtualClock, cluster: SimulatedCluster) -> None:
        super().__init__(clock)
        self.cluster = cluster
        self.ledger = FakeLedger()
        self.topic = RecordingTopic()
        self.clusters = SimulatedClusters({NAME: cluster}, clock)
        self.ports = Ports(self.clusters, self.ledger, self.topic, clock, SETTINGS)
        self.injector = FaultInjector(clock)
        self.events_are_lost = False
        """Whether Step Functions' events on a change of status, which are best effort, come to nobody."""

    def run_function(self, function: str, event: Any) -> Any:  # noqa: ANN401 - JSON
        """Call a function through the fault injector."""
        return self.injector.run_function(function, event, self.ports)

    def deliver(self, event: dict[str, Any], attempt: int = 0) -> None:
        """As usual, unless the event is lost."""
        if not self.events_are_lost:
            super().deliver(event, attempt)

    def reconcile(self) -> list[str]:
        """What the hourly reconciliation publishes: the executions."""
        machines = Machines(StepFunctionsExecutions(self.states), self.machine_arn, self.machine_arn, "unused")
        return [one.rotation.execution.id for one in reconcile_rotations(self.ports, machines).published]

    def lock(self) -> Lock | None:
        """The lock, if somebody holds it now."""
        held = self.ledger.lock(NAME)
        return held if held and held.lease_until > self.clock() else None

    def lock_seconds(self) -> float:
        """For how many seconds from now the lock is held."""
        held = self.lock()
        return (held.lease_until - self.clock()).total_seconds() if held else 0.0

    def own_rekeys(self) -> int:
        """How many rekeys we had the cluster begin."""
        return sum(rekey.own for rekey in self.cluster.rekeys)


@contextmanager
def in_memory_harness(spec: ClusterSpec | None = None) -> Iterator[InMemoryHarness]:
    """An in-memory harness with one cluster; they share its virtual clock."""
    clock = VirtualClock()
    cluster = SimulatedCluster(
        replace(spec or ClusterSpec(rekey_seconds=20.0), name=NAME, clock=clock, password=PASSWORD)
    )
    with (
        without_sockets({NAME: cluster}, clock.sleep),
        harness_on_moto(clock, lambda: InMemoryHarness(clock, cluster)) as made,
    ):
        yield cast("InMemoryHarness", made)
