"""In-memory stand-ins for the ports: a clock set by hand, a ledger, a cluster, a topic.

``tests/unit/aws/test_ledger.py`` holds FakeLedger and DynamoLedger to one and the same contract, and
``tests/unit/test_fake_cluster.py`` FakeCluster and the simulated cluster.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from element_rekey.cluster import (
    Certificate,
    ClusterFault,
    ClusterIdentity,
    ClusterVersion,
    ElementError,
    EncryptionState,
    KeyManagementType,
    KeyProvider,
    MasterKey,
    RekeyJob,
)
from element_rekey.codec import decode, encode
from element_rekey.errors import (
    AwsCallFailed,
    ClusterNotRegistered,
    ElementRekeyError,
    LedgerConflict,
    RekeyOutcomeUnknown,
    RekeyRefused,
)
from element_rekey.ports import Ports
from element_rekey.records import (
    Claim,
    ClusterMemory,
    Execution,
    FleetRun,
    Lock,
    OutsideChange,
    Readiness,
    Registered,
    Rotation,
)
from element_rekey.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from element_rekey.outcomes import NoticeKind
    from element_rekey.records import ClusterResult

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
SETTINGS = Settings(deadline=timedelta(hours=6), settling=timedelta(minutes=2), lease=timedelta(minutes=15))


@dataclass
class FakeClock:
    """A clock that stands still until it is advanced."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


class FakeLedger:
    """``ports.Ledger`` in a dictionary; what is read back has gone through the codec, as it does in DynamoDB."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}

    def take_lock(self, cluster: str, lock: Lock, now: datetime) -> Lock:
        held = self.items.get(f"LOCK#{cluster}")
        if held and held["owner"] != lock.owner and held["leaseUntil"] > encode(now):
            return decode(Lock, held)
        self.items[f"LOCK#{cluster}"] = encode(lock)
        return lock

    def release_lock(self, cluster: str, owner: str, keep_until: datetime | None = None) -> None:
        held = self.items.get(f"LOCK#{cluster}")
        if held is None or held["owner"] != owner:
            return
        if keep_until:
            held["leaseUntil"] = encode(keep_until)
        else:
            del self.items[f"LOCK#{cluster}"]

    def memory(self, cluster: str) -> ClusterMemory | None:
        item = self.items.get(f"CLUSTER#{cluster}")
        return None if item is None else decode(ClusterMemory, item)

    def memories(self, clusters: Sequence[str]) -> Mapping[str, ClusterMemory]:
        found = {cluster: self.memory(cluster) for cluster in clusters}
        return {cluster: memory for cluster, memory in found.items() if memory}

    def remember(self, cluster: str, memory: ClusterMemory) -> ClusterMemory:
        written = replace(memory, version=memory.version + 1)
        self._write(f"CLUSTER#{cluster}", memory.version, encode(written))
        return written

    def owner(self, uuid: str) -> str | None:
        item = self.items.get(f"UUID#{uuid}")
        return None if item is None else decode(Claim, item).registered_as

    def claim(self, uuid: str, cluster: str) -> str:
        owner = self.owner(uuid) or cluster
        self.items[f"UUID#{uuid}"] = encode(Claim(owner))
        return owner

    def move(self, uuid: str, owner: str, cluster: str, version: int, now: datetime) -> ClusterMemory | None:
        lock = self.items.get(f"LOCK#{owner}")
        if self.owner(uuid) != owner or (lock and lock["leaseUntil"] > encode(now)):
            raise LedgerConflict(f"Cluster {uuid} is registered as {owner}.", cluster=cluster)
        memory, moved = self.memory(owner), None
        if memory and memory.uuid == uuid:
            moved = self.remember(cluster, replace(memory, version=version, claimed=True))
            del self.items[f"CLUSTER#{owner}"]
        self.items[f"UUID#{uuid}"] = encode(Claim(cluster))
        return moved

    def save_seen(
        self, rotation: Rotation, memory: ClusterMemory, settled: Rotation | None
    ) -> tuple[Rotation, ClusterMemory]:
        before = dict(self.items)
        try:
            if settled:
                FakeLedger.save(self, settled)
            return FakeLedger.save(self, rotation), FakeLedger.remember(self, rotation.cluster, memory)
        except LedgerConflict:
            self.items = before
            raise

    def rotation(self, execution: Execution) -> Rotation | None:
        rotation = self._rotation(execution.id)
        return rotation if rotation and rotation.execution.is_same_as(execution) else None

    def _rotation(self, execution_id: str) -> Rotation | None:
        item = self.items.get(f"ROTATION#{execution_id}")
        return None if item is None else decode(Rotation, item)

    def rotations(self, execution_ids: Sequence[str]) -> Mapping[str, Rotation]:
        found = {execution_id: self._rotation(execution_id) for execution_id in execution_ids}
        return {execution_id: rotation for execution_id, rotation in found.items() if rotation}

    def save(self, rotation: Rotation) -> Rotation:
        saved = replace(rotation, version=rotation.version + 1)
        self._write_record(f"ROTATION#{rotation.execution.id}", rotation, encode(saved))
        return saved

    def save_intent(self, rotation: Rotation, now: datetime) -> Rotation:
        held = self.items.get(f"LOCK#{rotation.cluster}")
        if held is None or held["owner"] != rotation.execution.id or held["leaseUntil"] <= encode(now):
            raise LedgerConflict("The lock changed hands.", cluster=rotation.cluster)
        claimed = self.items.get(f"UUID#{rotation.cluster_uuid}")
        if claimed and claimed["registeredAs"] != rotation.cluster:
            raise LedgerConflict("The cluster changed hands.", cluster=rotation.cluster)
        return self.save(rotation)

    def readiness(self, clusters: Sequence[str]) -> Mapping[str, Readiness]:
        found = {cluster: self.items.get(f"READINESS#{cluster}") for cluster in clusters}
        return {cluster: decode(Readiness, item) for cluster, item in found.items() if item is not None}

    def save_readiness(self, cluster: str, readiness: Readiness) -> None:
        known = self.readiness([cluster]).get(cluster)
        if known is None or known.looked_at < readiness.looked_at:
            self.items[f"READINESS#{cluster}"] = encode(readiness)

    def fleet_run(self, execution: Execution) -> FleetRun | None:
        item = self.items.get(f"FLEET#{execution.id}")
        run = None if item is None else decode(FleetRun, item)
        return run if run and run.execution.is_same_as(execution) else None

    def save_fleet_run(self, run: FleetRun) -> FleetRun:
        saved = replace(run, version=run.version + 1)
        self._write_record(f"FLEET#{run.execution.id}", run, encode(saved))
        return saved

    def _write_record(self, pk: str, record: Rotation | FleetRun, item: dict[str, Any]) -> None:
        earlier = self.items.get(pk)
        known = decode(type(record), earlier) if earlier and not record.version else None
        if earlier and known and not known.execution.is_same_as(record.execution):
            self.items[f"{pk}#{earlier['execution']['startedAt']}"] = self.items.pop(pk)
        self._write(pk, record.version, item)

    def _write(self, pk: str, read_at: int, item: dict[str, Any]) -> None:
        if self.items.get(pk, {}).get("version", 0) != read_at:
            raise LedgerConflict(f"Item {pk} was written by another invocation.")
        self.items[pk] = item

    def lock(self, cluster: str) -> Lock | None:
        """Who holds a cluster's lock; for assertions."""
        item = self.items.get(f"LOCK#{cluster}")
        return None if item is None else decode(Lock, item)


@dataclass
class FakeCluster:
    """One Element cluster that does what a test sets; it counts the rekeys it really began."""

    clock: FakeClock
    uuid: str = "uuid-of-prod-a"
    name: str = "production"
    skew: timedelta = timedelta()
    """How far its clock is ahead of ours, after the correction the client makes."""
    enabled: bool = True
    key: MasterKey | None = None
    handle: int | None = None
    pending_version: str = ""
    current_faults: tuple[ClusterFault, ...] = ()
    providers: tuple[KeyProvider, ...] = ()
    presented: Certificate | None = None
    server_certificates: dict[int, tuple[Certificate, ...]] = field(default_factory=dict)
    """Of the key servers of each provider."""
    test_errors: dict[int, ElementError] = field(default_factory=dict)
    jobs: dict[int, RekeyJob] = field(default_factory=dict)
    new_keys: dict[int, MasterKey] = field(default_factory=dict)
    """What each rekey makes; like the real one, the cluster shows it only once the rekey is complete."""
    rekeys: int = 0
    calls: list[str] = field(default_factory=list)
    failing: dict[str, list[ElementRekeyError]] = field(default_factory=dict)
    """Errors the next calls of a method raise, before anything is done."""
    before: dict[str, Callable[[], object]] = field(default_factory=dict)
    """What happens on the cluster just before the next call of a method; once."""
    kept_result_blocks: bool = False
    """No rekey is accepted while the result of the last one is kept."""
    lose_answer: bool = False
    """The next rekey begins, and its answer is lost."""

    def __post_init__(self) -> None:
        if self.key is None:
            self.key = MasterKey("key-0", KeyManagementType.INTERNAL, None, NOW - timedelta(days=400))

    def check_api_version(self) -> None:
        self._called("check_api_version")

    def identity(self) -> ClusterIdentity:
        self._called("identity")
        return ClusterIdentity(self.uuid, self.name)

    def version(self) -> ClusterVersion:
        self._called("version")
        return ClusterVersion(self.pending_version)

    def encryption(self) -> EncryptionState:
        self._called("encryption")
        return EncryptionState(self.enabled, self.key, self.handle)

    def faults(self) -> tuple[ClusterFault, ...]:
        self._called("faults")
        return self.current_faults

    def key_providers(self) -> tuple[KeyProvider, ...]:
        self._called("key_providers")
        return self.providers

    def certificate(self) -> Certificate | None:
        return self.presented

    def key_server_certificates(self, key_provider_id: int) -> tuple[Certificate, ...]:
        self._called("key_server_certificates")
        return self.server_certificates.get(key_provider_id, ())

    def test_key_provider(self, key_provider_id: int) -> ElementError | None:
        self._called("test_key_provider")
        return self.test_errors.get(key_provider_id)

    def rekey_job(self, async_handle: int) -> RekeyJob | None:
        self._called("rekey_job")
        return self.jobs.get(async_handle)

    def release_result(self, async_handle: int) -> None:
        self._called("release_result")
        if self.jobs.pop(async_handle, None) and self.handle == async_handle:
            self.handle = None

    def rekey(self, key_management_type: KeyManagementType | None, key_provider_id: int | None) -> int:
        self._called("rekey")
        if self.handle in self.jobs and not self.jobs[self.handle].complete and self.jobs[self.handle].understood:
            raise RekeyRefused("Another rekey runs.", name="xRekeyAlreadyInProgress")
        if self.kept_result_blocks and self.handle is not None:
            raise RekeyRefused("A result is kept.", name="xAssumed")
        handle = self.begin(key_management_type, key_provider_id)
        if self.lose_answer:
            self.lose_answer = False
            raise RekeyOutcomeUnknown("The connection was reset after the request was sent.")
        return handle

    def begin(self, kind: KeyManagementType | None = None, provider: int | None = None) -> int:
        """Begin a rekey, whoever asked for it."""
        assert self.key
        self.rekeys += 1
        self.handle = 6 + self.rekeys
        kind, provider = (kind, provider) if kind else (self.key.key_management_type, self.key.key_provider_id)
        made = self.clock.now + self.skew
        self.new_keys[self.handle] = MasterKey(f"key-{self.rekeys}", kind, provider, made)
        self.jobs[self.handle] = RekeyJob(
            self.handle, complete=False, create_time=made, last_update_time=made, phase="CreateNewMasterKey"
        )
        return self.handle

    def finish(self, error: ElementError | None = None, *, replaced: bool = True) -> None:
        """End the running rekey: well, or with ``error`` on this or that side of the change of keys."""
        assert self.handle
        assert self.key
        job, old, new = self.jobs[self.handle], self.key, self.new_keys[self.handle]
        if replaced:
            self.key = new
        self.jobs[self.handle] = replace(
            job,
            complete=True,
            phase="",
            last_update_time=self.clock.now + self.skew,
            new_key=None if error else replace(new, key_created_time=None),
            key_to_decommission=None if error else replace(old, key_created_time=None),
            error=error,
        )

    def _called(self, method: str) -> None:
        self.calls.append(method)
        self.before.pop(method, lambda: None)()
        errors = self.failing.get(method)
        if errors:
            raise errors.pop(0)


@dataclass
class FakeClusters:
    """``ports.Clusters`` in a dictionary."""

    by_name: dict[str, FakeCluster]
    unlisted: set[str] = field(default_factory=set)
    """Registered so recently that the list of all does not show them yet."""

    def connect(self, cluster: str, *, afresh: bool = False) -> FakeCluster:  # noqa: ARG002 - there is but one
        if cluster not in self.by_name:
            raise ClusterNotRegistered(f"There is no secret element-rekey/{cluster}.", cluster=cluster)
        return self.by_name[cluster]

    def registered(self, names: Collection[str] | None = None) -> tuple[Registered, ...]:
        shown = self.by_name.keys() - self.unlisted if names is None else self.by_name.keys() & set(names)
        return tuple(Registered(cluster) for cluster in self.by_name if cluster in shown)


@dataclass
class FakeTopic:
    """``ports.Topic`` that keeps what was published."""

    published: list[Rotation] = field(default_factory=list)
    notices: list[tuple[str, NoticeKind, str]] = field(default_factory=list)
    outside: list[tuple[str, OutsideChange]] = field(default_factory=list)
    summaries: list[tuple[FleetRun, tuple[ClusterResult, ...]]] = field(default_factory=list)
    failures: int = 0
    """So many of the next publications fail."""

    def publish(self, rotation: Rotation) -> None:
        self._fail_once("SNS did not publish the outcome.", rotation.cluster)
        self.published.append(rotation)

    def publish_notice(self, rotation: Rotation, kind: NoticeKind, detail: str) -> None:
        self._fail_once("SNS did not publish the notice.", rotation.cluster)
        self.notices.append((rotation.execution.id, kind, detail))

    def publish_outside(self, rotation: Rotation, change: OutsideChange) -> None:
        self._fail_once("SNS did not publish the change.", rotation.cluster)
        self.outside.append((rotation.execution.id, change))

    def publish_summary(self, run: FleetRun, results: Sequence[ClusterResult]) -> None:
        self._fail_once("SNS did not publish the summary.")
        self.summaries.append((run, tuple(results)))

    def _fail_once(self, what: str, cluster: str = "") -> None:
        if self.failures:
            self.failures -= 1
            raise AwsCallFailed(what, cluster=cluster)


@dataclass
class FakeExecutions:
    """``ports.Executions`` of what a test let end."""

    ended: list[tuple[str, Execution, str, Any]] = field(default_factory=list)
    """State machine, execution, status and input of each."""
    since: list[datetime] = field(default_factory=list)
    """From when on it was asked for each time."""
    described: list[str] = field(default_factory=list)

    def ended_badly(self, state_machine_arn: str, since: datetime) -> tuple[Execution, ...]:
        self.since.append(since)
        return tuple(execution for machine, execution, _, _ in self.ended if machine == state_machine_arn)

    def status_event(self, execution: Execution) -> Mapping[str, Any]:
        self.described.append(execution.id)
        ((status, given),) = [(status, given) for _, one, status, given in self.ended if one == execution]
        started = round(execution.started_at.timestamp() * 1000)
        detail = {"executionArn": execution.id, "status": status, "startDate": started, "input": json.dumps(given)}
        return {"source": "aws.states", "detail": detail}


def fake_ports(
    clock: FakeClock, ledger: FakeLedger, topic: FakeTopic, cluster: FakeCluster, name: str = "prod-a"
) -> Ports:
    """The fakes, put together as the use cases take them."""
    return Ports(FakeClusters({name: cluster}), ledger, topic, clock, SETTINGS)
