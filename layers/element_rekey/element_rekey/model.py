"""The words of this application: what is asked, what a cluster says, what became of it.

Names follow the Element API and AWS; ``codec`` gives their JSON spelling (``key_id`` is ``keyID``).
All times are aware UTC datetimes. Times stamped by a cluster are corrected to our clock where they enter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - codec reads the annotations at run time
from enum import StrEnum

CLUSTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""A registered cluster's name: the last part of its secret's name."""


class KeyManagementType(StrEnum):
    """Who keeps the master key: the cluster itself, or an external KMIP server."""

    INTERNAL = "Internal"
    EXTERNAL = "External"


class Trigger(StrEnum):
    """What started a rotation."""

    MANUAL = "manual"
    SCHEDULE = "schedule"
    ALARM = "alarm"


class Outcome(StrEnum):
    """How a rotation ended."""

    ROTATED = "Rotated"
    FOLLOWED = "Followed"  # somebody else's job met the demand
    NOT_DUE = "NotDue"  # the current key meets the demand already
    COOLING_DOWN = "CoolingDown"  # the key is too new to be replaced again by an alarm
    PLANNED = "Planned"  # a dry run that would rotate
    FAILED = "Failed"
    ROTATED_WITH_ERROR = "RotatedWithError"  # the new key is current, the job reported an error
    OVERDUE = "Overdue"  # still running at the deadline
    OUTCOME_UNKNOWN = "OutcomeUnknown"

    @property
    def succeeded(self) -> bool:
        """Whether nobody has to do anything."""
        return self in _SUCCEEDED


_SUCCEEDED = frozenset({Outcome.ROTATED, Outcome.FOLLOWED, Outcome.NOT_DUE, Outcome.COOLING_DOWN, Outcome.PLANNED})


@dataclass(frozen=True, slots=True)
class Request:
    """The input of one rotation. Only ``cluster`` is needed."""

    cluster: str
    reason: str = ""
    requested_by: str = ""
    trigger: Trigger = Trigger.MANUAL
    key_management_type: KeyManagementType | None = None  # absent: as it is now
    key_provider_id: int | None = None  # with External only
    key_created_after: datetime | None = None  # absent: after this execution began
    cool_down_seconds: int = 0
    dry_run: bool = False
    force: bool = False  # overrides the cool-down, needs a reason
    ignore_faults: tuple[str, ...] = ()
    accept_cluster_uuid: str = ""  # a replaced cluster, accepted by a person


@dataclass(frozen=True, slots=True)
class Registration:
    """How to reach one cluster and how to trust it: the value of its secret."""

    mvip: str  # address or host name, with :port where it is not 443
    username: str
    password: str
    ca_bundle: str = ""  # PEM
    server_name: str = ""  # the name in the certificate, where it is not the mvip
    certificate_fingerprint: str = ""  # SHA-256 of the certificate, hexadecimal, colons allowed
    api_version: str = "12.3"

    def __repr__(self) -> str:
        """Show nothing: a representation must never carry a secret into a log, whatever member somebody put it in."""
        return "Registration(…)"


@dataclass(frozen=True, slots=True)
class Execution:
    """The state machine execution that carries a rotation."""

    id: str  # its ARN
    started_at: datetime


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A master key as the cluster describes it (``EncryptionKeyInfo``); never the key itself."""

    key_id: str
    key_management_type: KeyManagementType
    key_provider_id: int | None = None
    key_created_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class ElementError:
    """An error as the cluster words it."""

    name: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class RekeyJob:
    """What ``GetAsyncResult`` says of a rekey.

    ``complete`` without ``error`` carries ``new_key`` and ``key_to_decommission``; while running ``phase`` is the
    cluster's own word for what it is doing, where it gives one.
    """

    async_handle: int
    complete: bool
    create_time: datetime | None = None
    last_update_time: datetime | None = None
    phase: str = ""
    new_key: MasterKey | None = None
    key_to_decommission: MasterKey | None = None
    error: ElementError | None = None


@dataclass(frozen=True, slots=True)
class ClusterIdentity:
    """Which cluster answers (``GetClusterInfo``)."""

    uuid: str
    name: str
    mvip_node_id: int | None = None


@dataclass(frozen=True, slots=True)
class EncryptionState:
    """What ``GetSoftwareEncryptionAtRestInfo`` says."""

    enabled: bool
    master_key: MasterKey | None = None
    rekey_async_result_id: int | None = None  # the current or most recent rekey, until its result is deleted


@dataclass(frozen=True, slots=True)
class ClusterVersion:
    """What ``GetClusterVersionInfo`` says."""

    cluster_version: str
    pending_cluster_version: str = ""


@dataclass(frozen=True, slots=True)
class ClusterFault:
    """One current fault (``ListClusterFaults``)."""

    code: str
    severity: str
    details: str = ""


@dataclass(frozen=True, slots=True)
class KeyProvider:
    """One external key provider (``ListKeyProvidersKmip``)."""

    key_provider_id: int
    name: str
    key_server_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ProviderCheck:
    """What is known of the provider a rekey would use; ``provider`` is None when the cluster has no such one."""

    key_provider_id: int
    provider: KeyProvider | None = None
    test_error: ElementError | None = None  # what TestKeyProviderKmip answered, None when it passed


@dataclass(frozen=True, slots=True)
class ClusterMemory:
    """What we remember of a registered cluster from the last look at it.

    Our own clock is a witness of each key's age: a key was made after the last sight of the one before it, whatever
    time the cluster stamped on it.
    """

    uuid: str
    key_id: str = ""
    key_made_after: datetime | None = None  # None: it was there when we first looked
    key_seen_at: datetime | None = None
    told_error_of: int | None = None  # the asyncHandle of a rekey whose error was told; once is enough


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything the cluster says at one moment, and what we remember of it."""

    at: datetime
    identity: ClusterIdentity
    memory: ClusterMemory | None  # None: never seen before
    version: ClusterVersion
    encryption: EncryptionState
    job: RekeyJob | None = None  # what encryption.rekey_async_result_id refers to; None: none, or not readable
    faults: tuple[ClusterFault, ...] = ()
    provider: ProviderCheck | None = None  # only where the rekey would be external


@dataclass(frozen=True, slots=True)
class Intent:
    """Written before a rekey is sent: what the cluster looked like, and how often we asked."""

    cluster_uuid: str
    baseline_key: MasterKey
    baseline_async_result_id: int | None
    sent_at: datetime
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Following:
    """The rekey an execution follows. No ``async_handle``: the result is gone, only the cluster's state is left."""

    async_handle: int | None
    own: bool  # we began it
    since: datetime
    baseline_key: MasterKey  # the current key when following began
    unseen_since: datetime | None = None  # the handle has been unknown to the cluster from then on
    assumed: bool = False  # the answer to ours was lost, and this one is taken for it


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A finished rekey: what was replaced by what, and how we know."""

    old_key: MasterKey
    new_key: MasterKey
    own: bool
    finished_at: datetime  # by the job's own word, where it could be read
    detected_at: datetime
    job_result_read: bool  # False: somebody read the job's result away; the cluster's state alone shows the change
    key_to_decommission: MasterKey | None = None
    job_error: ElementError | None = None
    job_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """Who may change a cluster, and until when."""

    owner: str  # an execution's ARN
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a rotation did not succeed; ``error`` is a class name of ``errors`` or a name Step Functions gave."""

    error: str
    cause: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """One execution's record in the ledger: intent, what it follows, what came of it. Never deleted by us."""

    execution: Execution
    cluster: str = ""  # empty: the input did not name one
    request: Request | None = None  # None: the input was not a valid request
    version: int = 0  # of this record; each write needs the one it read
    cluster_uuid: str = ""
    cluster_name: str = ""
    current_key: MasterKey | None = None  # as last observed
    intent: Intent | None = None
    following: Following | None = None
    disregarded_handle: int | None = None  # listed by the cluster but never readable
    change: KeyChange | None = None
    polls: int = 0
    detail: str = ""  # one plain sentence: what was decided last, and why
    outcome: Outcome | None = None  # decided
    failure: Failure | None = None
    ended_at: datetime | None = None  # closed: from here on nothing but the two below changes
    publishing_until: datetime | None = None  # somebody is publishing the notification
    notified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FleetRequest:
    """The input of a fleet run; what a child rotation shares with it goes to each child."""

    clusters: tuple[str, ...] | None = None  # absent: every registered cluster
    canary: str = ""  # rotated alone, before all others
    max_concurrency: int | None = None  # absent: as the operator's parameter says
    tolerated_failures: int | None = None  # absent: none for a schedule, any number otherwise
    trigger: Trigger = Trigger.MANUAL
    reason: str = ""
    requested_by: str = ""
    key_management_type: KeyManagementType | None = None
    key_provider_id: int | None = None
    key_created_after: datetime | None = None
    dry_run: bool = False
    force: bool = False
    ignore_faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Registered:
    """A cluster as its registration looks from outside: the name and the tags of its secret."""

    cluster: str
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Selected:
    """One cluster of a fleet run, and the execution that rotates it."""

    cluster: str
    execution_name: str
    not_before: datetime
    max_key_age_seconds: int | None = None  # only where age decides


@dataclass(frozen=True, slots=True)
class Refused:
    """A cluster a fleet run could not select."""

    cluster: str
    error: str
    cause: str


@dataclass(frozen=True, slots=True)
class FleetRun:
    """The ledger's record of one fleet run."""

    execution: Execution
    request: FleetRequest | None = None  # None: the input was not a valid one
    version: int = 0
    selected: tuple[Selected, ...] = ()
    refused: tuple[Refused, ...] = ()
    failure: Failure | None = None
    ended_at: datetime | None = None
    publishing_until: datetime | None = None
    notified_at: datetime | None = None
