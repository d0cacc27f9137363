"""What is asked of us, and what we keep: requests, registrations, and the items of the ledger.

Names follow the Element API and AWS; ``codec`` gives their JSON spelling (``key_id`` is ``keyID``). All times are aware
UTC datetimes. The JSON of an attribute must never change, since records outlive releases: ``stored_as`` keeps it where
the attribute got a better name.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from .cluster import Certificate, ElementError, KeyManagementType, MasterKey, RekeyJob, Unfamiliar  # noqa: TC001 - codec reads the annotations at run time
from .codec import one_or_many, stored_as
from .moments import is_plausible
from .outcomes import NoticeKind, Outcome, Trigger

CLUSTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""A registered cluster's name: the last part of its secret's name."""


# --- what is asked ---


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
class Asked:
    """Who asked, why and for what: of a request, or as far as an input that is not a valid one could be read."""

    trigger: Trigger | None = None  # None: not to be read
    reason: str = ""
    requested_by: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class FleetRequest:
    """The input of a fleet run; what a child rotation shares with it goes to each child (``request_for``)."""

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

    def made_after(self, started_at: datetime) -> datetime | None:
        """After which moment the keys have to be made; None: that is each cluster's, or each rotation's, own matter.

        What a person asks of many clusters is asked once, at the start of the run: asked again, it is found done.
        """
        return self.key_created_after or (started_at if self.trigger is Trigger.MANUAL else None)

    def request_for(self, cluster: str) -> Request:
        """What this run asks of one cluster."""
        return Request(
            cluster=cluster,
            reason=self.reason,
            requested_by=self.requested_by,
            trigger=self.trigger,
            key_management_type=self.key_management_type,
            key_provider_id=self.key_provider_id,
            key_created_after=self.key_created_after,
            dry_run=self.dry_run,
            force=self.force,
            ignore_faults=self.ignore_faults,
        )


@dataclass(frozen=True, slots=True)
class Registration:
    """How to reach one cluster and how to trust it: the value of its secret."""

    mvip: str  # address or host name, with :port where it is not 443
    username: str
    password: str
    ca_bundle: str = ""  # PEM
    server_name: str = ""  # the name in the certificate, where it is not the mvip
    certificate_fingerprints: tuple[str, ...] = field(default=(), metadata=one_or_many("certificateFingerprint"))
    """SHA-256 of the certificate, hexadecimal, colons allowed; and of the one that is to follow it, if there is one."""
    api_version: str = "12.3"

    def __repr__(self) -> str:
        """Show nothing: a representation must never carry a secret into a log, whatever member somebody put it in."""
        return "Registration(…)"


@dataclass(frozen=True, slots=True)
class Registered:
    """A cluster as its registration looks from outside: the name and the tags of its secret."""

    cluster: str
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Execution:
    """A state machine execution."""

    id: str  # its ARN
    started_at: datetime

    def is_same_as(self, other: Execution) -> bool:
        """Whether both are one: a name can be used again 90 days after an execution of it has ended.

        The state machine and its status-change events give the start in two ways, hence a second of tolerance.
        """
        return self.id == other.id and abs(self.started_at - other.started_at) <= timedelta(seconds=1)


R = TypeVar("R", Request, FleetRequest)


@dataclass(frozen=True, slots=True)
class CloseRequest(Generic[R]):
    """An execution that is over and is to be closed and published."""

    execution: Execution
    request: R | None  # None where the input is not a valid one
    failure: Failure | None  # None where no error was caught
    cluster: str = ""  # which one a rotation's input names, also where it is not a valid one
    asked: Asked | None = None  # what else it says where it is not a valid one


# --- what we keep of a cluster ---


@dataclass(frozen=True, slots=True)
class Lock:
    """Who may change a cluster, and until when."""

    owner: str  # an execution's ARN
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """The one registration that a cluster, by its uuid, belongs to."""

    registered_as: str


@dataclass(frozen=True, slots=True)
class EarlierKey:
    """A key a cluster had before its current one; should it come back, it is not a new one."""

    key_id: str
    made_after: datetime | None = None
    known_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClusterMemory:
    """What we remember of a registered cluster from the last look at it.

    Our own clock is a witness of each key's age, whatever time the cluster stamped on it: a key was made after the last
    sight of the one before it, and before it was itself seen for the first time.
    """

    uuid: str
    key_id: str = ""
    key_made_after: datetime | None = None  # None: it was there when we first looked
    key_seen_at: datetime | None = None  # the last sight of it while no rekey ran
    key_known_since: datetime | None = None  # the first sight of it; None in memories of 0.1.0
    key_created_time: datetime | None = None  # as the cluster stamped it, on our clock
    earlier_keys: tuple[EarlierKey, ...] = ()  # the last ones before it, the newest first
    version: int = 0  # of this memory; each write needs the one it read
    rekey_of: Execution | None = None
    """The execution that sent, or follows, the rekey that may have made the next key; None: no such rekey is open."""
    claimed: bool | None = None  # the ledger says that the cluster belongs to this registration; None: not asked yet
    reported_error_of: int | None = field(default=None, metadata=stored_as("toldErrorOf"))
    """The asyncHandle of a rekey whose error was published; once is enough."""
    certificates: tuple[Certificate, ...] | None = None
    """The cluster's own, and those of the key servers of its key, as last seen."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an execution did not succeed; ``error`` is a class name of ``errors`` or a name Step Functions gave."""

    error: str
    cause: str
    next_step: str


@dataclass(frozen=True, slots=True)
class CertificateNotice:
    """The last notice that was published of a certificate's end: so many days before it."""

    fingerprint: str
    notice_days: int


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the last look at a cluster says of a rotation that would begin now."""

    looked_at: datetime
    since: datetime  # when it was first found so
    failure: Failure | None = None  # what would refuse or fail it; None: ready
    notices: tuple[CertificateNotice, ...] | None = None  # of certificates that come to their end


# --- what we keep of an execution ---


@dataclass(frozen=True, slots=True)
class ProviderTest:
    """A key provider that passed its test (``TestKeyProviderKmip``), and when."""

    key_provider_id: int
    passed_at: datetime


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
    ours: bool = field(metadata=stored_as("own"))  # we began it
    since: datetime
    baseline_key: MasterKey  # the current key when following began
    not_shown_since: datetime | None = field(default=None, metadata=stored_as("unseenSince"))
    """From then on the cluster lists the rekey, and does not know its handle when asked for it."""
    presumed_ours: bool = field(default=False, metadata=stored_as("assumed"))
    """The answer to ours was lost, and this one is taken for it."""


@dataclass(frozen=True, slots=True)
class KeptResult:
    """The result of an earlier rekey, for which the cluster may have refused ours: held here from then on."""

    job: RekeyJob
    refused_at: datetime
    refused_with: str  # what the cluster said; nobody knows yet by which name it says so
    released_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A finished rekey: what was replaced by what, and how we know."""

    old_key: MasterKey
    new_key: MasterKey
    ours: bool = field(metadata=stored_as("own"))
    finished_at: datetime  # by the job's own word, where it could be read
    detected_at: datetime
    job_result_read: bool
    """False: the job's result was read away, or says nothing we understand; the state alone shows the change."""
    key_to_decommission: MasterKey | None = None
    job_error: ElementError | None = None
    job_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the rekey of an earlier execution, which ended without knowing."""

    execution: Execution
    asked: Asked
    change: KeyChange


@dataclass(frozen=True, slots=True)
class OutsideChange:
    """A change of keys that no record explains: neither a rekey of ours, nor one that we followed.

    It happened between two looks, the last that showed the old key and the first that showed another one.
    """

    old_key_id: str
    new_key: MasterKey
    old_key_seen_at: datetime | None  # None: only ever while a rekey ran
    new_key_seen_at: datetime
    rekey_async_result_id: int | None = None  # what the cluster lists as its latest rekey
    published_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What the records of a rotation and of a fleet run have in common. Never deleted by us."""

    execution: Execution
    _: KW_ONLY
    version: int = 0  # of this record; each write needs the one it read
    asked: Asked | None = None  # where the input was not a valid request: what it says all the same
    failure: Failure | None = None
    ended_at: datetime | None = None  # closed: from here on only the two below change, and ``Rotation.settled_by``
    publishing_until: datetime | None = None  # somebody is publishing it
    notified_at: datetime | None = None  # published


@dataclass(frozen=True, slots=True)
class Rotation(Record):
    """The record of one rotation: intent, what it follows, what came of it."""

    cluster: str = ""  # empty: the input did not name one
    request: Request | None = None  # None: the input was not a valid request
    cluster_uuid: str = ""
    cluster_name: str = ""
    current_key: MasterKey | None = None  # as last observed
    intent: Intent | None = None
    following: Following | None = None
    disregarded_handle: int | None = None  # somebody else's that is over, or is listed and never readable
    change: KeyChange | None = None
    polls: int = 0
    cooling_until: datetime | None = None  # the end of the cool-down this rotation waited for
    notices: tuple[NoticeKind, ...] = ()  # the kinds of notices published on the way
    detail: str = ""  # one plain sentence: what was decided last, and why
    outcome: Outcome | None = None  # decided
    unfamiliar: tuple[Unfamiliar, ...] | None = None  # what could not be interpreted in the cluster's answers
    settled: tuple[Settled, ...] | None = None  # the rekeys of earlier executions whose end this one saw first
    settled_by: Execution | None = None  # which execution saw the end of this one's rekey, and wrote ``change``
    outside: tuple[OutsideChange, ...] | None = None  # changes that this execution saw first, and nothing explains
    certificates: tuple[Certificate, ...] | None = None  # as seen: the one the cluster presented, and its key servers'
    kept_result: KeptResult | None = None  # one a rotation, at most
    provider_test: ProviderTest | None = None  # the last one that was passed, good for the retries of the step
    unfit: Failure | None = None  # the schedule found nothing due here, and this would have refused a rekey


@dataclass(frozen=True, slots=True)
class Selected:
    """One cluster of a fleet run, and the execution that rotates it."""

    cluster: str
    execution_name: str
    not_before: datetime
    max_key_age_seconds: int | None = None  # the policy in force, of a run by age and of the daily looks


@dataclass(frozen=True, slots=True)
class NotSelected:
    """A cluster a fleet run was asked for and could not select."""

    cluster: str
    error: str
    cause: str


@dataclass(frozen=True, slots=True)
class NotReady:
    """A cluster on which a rotation begun now would be refused, or would fail."""

    cluster: str
    error: str
    cause: str
    next_step: str


@dataclass(frozen=True, slots=True)
class EndingCertificate:
    """A certificate that a rotation of the cluster depends on, and that comes to its end."""

    cluster: str
    of: str  # whose it is, in words
    expires: datetime
    days_left: int  # negative, once it has ended


@dataclass(frozen=True, slots=True)
class FleetReadiness:
    """What a fleet run found of the readiness of its clusters, and what of it is news. The lists may be cut."""

    clusters_not_ready: int  # of all clusters of the run, those included that were looked at earlier in the day
    became_not_ready: tuple[NotReady, ...] = ()  # or are so for another reason than before
    ready_again: tuple[str, ...] = ()
    ending_certificates: tuple[EndingCertificate, ...] | None = None  # those due for a notice, at 90, 60 and 30 days


@dataclass(frozen=True, slots=True)
class FleetRun(Record):
    """The record of one fleet run."""

    request: FleetRequest | None = None  # None: the input was not a valid one
    selected: tuple[Selected, ...] = ()
    not_selected: tuple[NotSelected, ...] = field(default=(), metadata=stored_as("refused"))
    looked_at_before: tuple[str, ...] | None = None  # found ready earlier in the day, and left out for that
    readiness: FleetReadiness | None = None  # of a run that judges it

    @property
    def dry(self) -> bool:
        """Whether only a plan was asked for."""
        return asked_of(self).dry_run


def asked_of(record: Rotation | FleetRun) -> Asked:
    """Who asked for a rotation or a fleet run, why and for what."""
    request = record.request
    if request is None:
        return record.asked or Asked()
    return Asked(request.trigger, request.reason, request.requested_by, request.dry_run)


@dataclass(frozen=True, slots=True)
class ClusterResult:
    """One selected cluster after the run; no ``rotation``: its execution left no record, so it changed nothing."""

    selected: Selected
    rotation: Rotation | None
    remembered_key_made: datetime | None = None
    """When the last key that anybody saw on it was made; only where this run did not see one of a known age."""

    @property
    def succeeded(self) -> bool:
        """Whether nobody has to do anything about it."""
        return bool(self.rotation and self.rotation.outcome and self.rotation.outcome.succeeded)

    @property
    def replaced(self) -> bool:
        """Whether its key was replaced as asked."""
        return bool(self.rotation and self.rotation.outcome and self.rotation.outcome.replaced)

    @property
    def outcome(self) -> str:
        """How its rotation ended, or that it did not end, or that it was not begun."""
        if self.rotation is None:
            return "NotBegun"
        return self.rotation.outcome.value if self.rotation.outcome else "NotEnded"

    @property
    def key_seen(self) -> bool:
        """Whether this run saw its key."""
        return bool(self.rotation and self.rotation.current_key)

    @property
    def key_made_as_seen(self) -> datetime | None:
        """When the current key was made, as the cluster says; None where nobody can mean that time.

        Today none such is written down. Records of earlier releases hold some, and no calendar goes beyond year 9999.
        """
        key = self.rotation.current_key if self.rotation else None
        made = key.key_created_time if key else None
        return made if made and is_plausible(made) else None

    @property
    def key_made(self) -> datetime | None:
        """When its key was made, as the cluster says; else the one it was last seen with."""
        return self.key_made_as_seen or self.remembered_key_made
