"""What the use cases need from outside. The adapters fulfil it; tests put fakes in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from .cluster import (
        Certificate,
        ClusterFault,
        ClusterIdentity,
        ClusterVersion,
        ElementError,
        EncryptionState,
        KeyManagementType,
        KeyProvider,
        RekeyJob,
    )
    from .outcomes import NoticeKind
    from .records import (
        ClusterMemory,
        ClusterResult,
        Execution,
        FleetRun,
        Lock,
        OutsideChange,
        Readiness,
        Registered,
        Rotation,
    )
    from .settings import Settings


class ElementCluster(Protocol):
    """One Element cluster. Every method but ``certificate`` is one API call and raises the classes of ``errors``.

    All may raise ClusterUnavailable, AnswerNotUnderstood, CredentialsRefused, CertificateRefused, PermissionDenied,
    ElementApiError.
    """

    def check_api_version(self) -> None:
        """``GetAPI``. Raises ApiVersionUnsupported below 12.3, or where the registered version is not served."""
        ...

    def identity(self) -> ClusterIdentity:
        """``GetClusterInfo``."""
        ...

    def version(self) -> ClusterVersion:
        """``GetClusterVersionInfo``."""
        ...

    def encryption(self) -> EncryptionState:
        """``GetSoftwareEncryptionAtRestInfo``; the key's time corrected to our clock."""
        ...

    def rekey(self, key_management_type: KeyManagementType | None, key_provider_id: int | None) -> int:
        """``RekeySoftwareEncryptionAtRestMasterKey``; returns the ``asyncHandle``. The only call that changes anything.

        Raises RekeyOutcomeUnknown when it may have been applied, RekeyRefused when the cluster answered with an error
        that is no transient one (it may still have begun: look), any other class only when certainly nothing changed.
        """
        ...

    def rekey_job(self, async_handle: int) -> RekeyJob | None:
        """``GetAsyncResult`` with ``keepResult: true``; None when the cluster does not know the handle."""
        ...

    def release_result(self, async_handle: int) -> None:
        """``GetAsyncResult`` without ``keepResult``: the cluster gives up the result of a finished job."""
        ...

    def faults(self) -> tuple[ClusterFault, ...]:
        """``ListClusterFaults`` of the current faults."""
        ...

    def key_providers(self) -> tuple[KeyProvider, ...]:
        """``ListKeyProvidersKmip``."""
        ...

    def certificate(self) -> Certificate | None:
        """The certificate that the cluster presented last; None before the first call. Nothing is asked for it."""
        ...

    def key_server_certificates(self, key_provider_id: int) -> tuple[Certificate, ...]:
        """``ListKeyServersKmip``: of the key servers of a provider."""
        ...

    def test_key_provider(self, key_provider_id: int) -> ElementError | None:
        """``TestKeyProviderKmip``; None when the test passed, else the error it answered with.

        Raises KeyProviderUnusable where no answer comes in time; it may take much longer than any other call.
        """
        ...


class Clusters(Protocol):
    """The registered clusters."""

    def connect(self, cluster: str, *, afresh: bool = False) -> ElementCluster:
        """The cluster registered as ``cluster``; ``afresh``: by its registration of this moment, not of a minute ago.

        Raises ClusterNotRegistered, RegistrationInvalid, AwsCallFailed.
        """
        ...

    def registered(self, names: Collection[str] | None = None) -> tuple[Registered, ...]:
        """Every registered cluster, or those of these names, without a look into a secret. Raises AwsCallFailed.

        The list of all may be some minutes behind; what is asked for by its name is as it is now.
        """
        ...


class Ledger(Protocol):
    """Locks, identities and rotations that outlive every function. All methods raise AwsCallFailed."""

    def take_lock(self, cluster: str, lock: Lock, now: datetime) -> Lock:
        """Take or renew the lock if it is free, ours, or its lease ran out at ``now``; returns who holds it after."""
        ...

    def release_lock(self, cluster: str, owner: str, keep_until: datetime | None = None) -> None:
        """Free the lock if ``owner`` holds it, at once or at ``keep_until``; anybody else's lock stays untouched."""
        ...

    def memory(self, cluster: str) -> ClusterMemory | None:
        """What is remembered of a cluster; None before it was first seen."""
        ...

    def memories(self, clusters: Sequence[str]) -> Mapping[str, ClusterMemory]:
        """What is remembered of many clusters, by their names; those never seen are left out."""
        ...

    def remember(self, cluster: str, memory: ClusterMemory) -> ClusterMemory:
        """Write a memory over the version it was read at; returns it with its new version. Raises LedgerConflict."""
        ...

    def owner(self, uuid: str) -> str | None:
        """The registration a cluster belongs to; None: to none yet."""
        ...

    def claim(self, uuid: str, cluster: str) -> str:
        """Let a cluster belong to the registration ``cluster``, if it belongs to none; returns whose it is after."""
        ...

    def move(self, uuid: str, owner: str, cluster: str, version: int, now: datetime) -> ClusterMemory | None:
        """Let a cluster belong to ``cluster`` and no more to ``owner``, whose memory of it goes with it.

        It is written over the memory of ``cluster`` that was read at ``version``, and is returned; None: ``owner``
        remembers no such cluster. Raises LedgerConflict while ``owner`` is locked at ``now``.
        """
        ...

    def save_seen(
        self, rotation: Rotation, memory: ClusterMemory, settled: Rotation | None
    ) -> tuple[Rotation, ClusterMemory]:
        """As ``save`` and ``remember`` at once, and ``save`` of the record that was settled by it: all, or nothing.

        So a change of keys is in a record once, whoever dies in between. Raises LedgerConflict.
        """

    def readiness(self, clusters: Sequence[str]) -> Mapping[str, Readiness]:
        """What the last look says of the readiness of many clusters, by their names; without those never judged."""
        ...

    def save_readiness(self, cluster: str, readiness: Readiness) -> None:
        """Write what a look says, unless a later look was written already."""
        ...

    def rotation(self, execution: Execution) -> Rotation | None:
        """The record of an execution; not that of an earlier one by the same name."""
        ...

    def rotations(self, execution_ids: Sequence[str]) -> Mapping[str, Rotation]:
        """The records of many executions, by their ids; those without one are left out."""
        ...

    def save(self, rotation: Rotation) -> Rotation:
        """Write a record over the version it was read at; returns it with its new version. Raises LedgerConflict."""
        ...

    def save_intent(self, rotation: Rotation, now: datetime) -> Rotation:
        """As ``save``, and only while the execution holds the cluster's lock at ``now``, and its cluster is its own.

        Raises LedgerConflict.
        """
        ...

    def fleet_run(self, execution: Execution) -> FleetRun | None:
        """The record of a fleet run; not that of an earlier one by the same name."""
        ...

    def save_fleet_run(self, run: FleetRun) -> FleetRun:
        """Write a record over the version it was read at; returns it with its new version. Raises LedgerConflict."""
        ...


class Topic(Protocol):
    """Where outcomes are published."""

    def publish(self, rotation: Rotation) -> None:
        """Publish a closed rotation. Raises AwsCallFailed."""
        ...

    def publish_notice(self, rotation: Rotation, kind: NoticeKind, detail: str) -> None:
        """Publish what is known of a rotation before its end. Raises AwsCallFailed."""
        ...

    def publish_outside(self, rotation: Rotation, change: OutsideChange) -> None:
        """Publish a change of keys that nothing explains, and that ``rotation`` saw first. Raises AwsCallFailed."""
        ...

    def publish_summary(self, run: FleetRun, results: Sequence[ClusterResult]) -> None:
        """Publish a closed fleet run. Raises AwsCallFailed."""
        ...


class Executions(Protocol):
    """What Step Functions itself says of executions."""

    def ended_badly(self, state_machine_arn: str, since: datetime) -> tuple[Execution, ...]:
        """Those of a state machine that failed, timed out or were stopped after ``since``. Raises AwsCallFailed."""
        ...

    def status_event(self, execution: Execution) -> Mapping[str, Any]:
        """What the event on its change of status says, or would have said. Raises AwsCallFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything a use case may touch."""

    clusters: Clusters
    ledger: Ledger
    topic: Topic
    clock: Callable[[], datetime]
    settings: Settings
