"""What to do, decided from what is asked and what is seen. No I/O: every rule of the rotation can be read here.

Every trigger asks for a key made after some moment (``Demand``); ``plan`` compares that with an ``Observation``. So a
retry, a redrive or a second trigger finds the demand met or the job running, and never rotates twice for one reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from .errors import (
    ClusterFaultsBlock,
    ClusterIdentityChanged,
    ElementRekeyError,
    EncryptionDisabled,
    KeyAgeUnknown,
    KeyProviderUnusable,
    RekeyEndedWithError,
    RekeyFailed,
    RekeyOutcomeUnknown,
    RequestInvalid,
    RotationNotProven,
    UpgradePending,
)
from .model import (
    ClusterMemory,
    ElementError,
    EncryptionState,
    Following,
    Intent,
    KeyChange,
    KeyManagementType,
    MasterKey,
    Observation,
    RekeyJob,
    Request,
    Trigger,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

ATTEMPTS = 2  # how often one execution may send a rekey, and the second time only onto an unchanged cluster

SHORTEST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(seconds=300)

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A key from further in our future than this has no usable time."""

STAMP_TOLERANCE = timedelta(seconds=2)
"""How far two times of one cluster may be off: each is in whole seconds, and set right by its own answer's ``Date``."""

FAULTS_BLOCKING_ALWAYS = frozenset({"duplicateClusterMasterCandidates", "ensembleDegraded", "upgrade"})
"""Cluster faults under which no rekey is begun: the cluster's own database is not safe to write to."""

FAULTS_BLOCKING_EXTERNAL = frozenset({"kmipCertificateFault", "kmipServerFault"})
"""Block whenever an external key is replaced or made: the rekey could not finish."""

FAULTS_BLOCKING_ROUTINE = frozenset(
    {
        "blocksDegraded",
        "clockSkewExceedsFaultThreshold",
        "exception",
        "fipsSelfTestFailure",
        "nodeMaintenanceMode",
        "nodeOffline",
        "serviceNotRunning",
        "unresponsiveService",
        "volumesDegraded",
    }
)
"""Block a rekey that can wait; one asked for by an alarm goes ahead and reports them."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a trigger asks of the master key. ``made_after`` is on our clock."""

    made_after: datetime
    key_management_type: KeyManagementType | None
    key_provider_id: int | None
    needs_age: bool  # whether an unknown age may not simply count as too old
    cool_down: timedelta
    urgent: bool
    ignore_faults: frozenset[str]
    accept_cluster_uuid: str

    def of_kind(self, key: MasterKey) -> bool:
        """Whether the key is managed as asked."""
        return self.key_management_type is None or (
            key.key_management_type is self.key_management_type and key.key_provider_id == self.key_provider_id
        )


@dataclass(frozen=True, slots=True)
class Start:
    """Send a rekey, to replace ``baseline_key``. ``warnings`` are faults seen and not blocking."""

    baseline_key: MasterKey
    key_management_type: KeyManagementType | None
    key_provider_id: int | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Follow:
    """A rekey is running, or has left its traces: see it to its end."""

    following: Following


@dataclass(frozen=True, slots=True)
class Satisfied:
    """The current key meets the demand."""

    made: datetime


@dataclass(frozen=True, slots=True)
class Flawed:
    """The current key meets the demand, but the rekey that made it ended with an error that nobody was told of."""

    error: RekeyEndedWithError


@dataclass(frozen=True, slots=True)
class CoolingDown:
    """The key is too new to be replaced again without force."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not now; the error says what to mend."""

    error: ElementRekeyError


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A rekey was sent, its answer was lost, and the cluster does not show yet what became of it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The job is not done; ``unseen`` where the cluster does not (or not yet) know its handle."""

    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The job is done and the key has changed as it says."""

    change: KeyChange


@dataclass(frozen=True, slots=True)
class Replan:
    """What was followed is over and did not settle the demand by itself: look again.

    ``change`` is what it did all the same, where another rekey came after it.
    """

    why: str
    change: KeyChange | None = None


def demand_of(request: Request, started_at: datetime) -> Demand:
    """The demand a request states, for an execution that began at ``started_at``.

    A moment a little ahead of our clock is one of another clock, and is waited for. Raises RequestInvalid for one
    further in the future.
    """
    if request.key_created_after and request.key_created_after > started_at + CLOCK_TOLERANCE:
        raise RequestInvalid("keyCreatedAfter: expected a time that is not in the future.", cluster=request.cluster)
    return Demand(
        made_after=request.key_created_after or started_at,
        key_management_type=request.key_management_type,
        key_provider_id=request.key_provider_id,
        needs_age=request.key_created_after is not None and not request.force,
        cool_down=timedelta() if request.force else timedelta(seconds=request.cool_down_seconds),
        urgent=request.trigger is Trigger.ALARM,
        ignore_faults=frozenset(request.ignore_faults),
        accept_cluster_uuid=request.accept_cluster_uuid,
    )


def plan(
    demand: Demand, seen: Observation, disregarded_handle: int | None = None
) -> Start | Follow | Satisfied | Flawed | CoolingDown | Refuse:
    """Decide what an execution does about its demand, given what is seen now.

    ``disregarded_handle`` is a rekey result the cluster lists but never shows; it is not followed again.
    """
    stranger = _stranger(seen.identity.uuid, seen.memory, demand.accept_cluster_uuid)
    if stranger:
        return Refuse(stranger)
    key = seen.encryption.master_key
    if not seen.encryption.enabled or key is None:
        return Refuse(EncryptionDisabled("Software encryption at rest is not enabled."))
    handle = seen.encryption.rekey_async_result_id
    if handle not in (None, disregarded_handle) and (seen.job is None or not seen.job.complete):
        return Follow(Following(handle, own=False, since=seen.at, baseline_key=key))
    return _weigh_age(demand, seen, key) or _fit(demand, seen, key)


def _weigh_age(demand: Demand, seen: Observation, key: MasterKey) -> Satisfied | Flawed | CoolingDown | Refuse | None:
    """Whether the key's age alone decides; None: it has to be replaced."""
    if not demand.of_kind(key):
        return None
    made = made_at(key, seen)
    if made is None:
        return Refuse(KeyAgeUnknown(f"Key {key.key_id} has no usable creation time.")) if demand.needs_age else None
    if made > demand.made_after:
        flawed = _flawed(seen, key)
        return Flawed(flawed) if flawed else Satisfied(made)
    return CoolingDown(made + demand.cool_down) if seen.at < made + demand.cool_down else None


def _flawed(seen: Observation, key: MasterKey) -> RekeyEndedWithError | None:
    """The error of the rekey that made the current key, where nobody has been told of it yet."""
    job, memory = seen.job, recall(seen.memory, seen.identity.uuid, key, seen.at)
    if job is None or job.error is None or memory.told_error_of == job.async_handle:
        return None
    return _with_error(key, job.error) if _made_by(job, key) else None


def _made_by(job: RekeyJob, key: MasterKey) -> bool | None:
    """Whether the latest job made the key: one no older than the job. None where the cluster does not tell both times.

    Key and job are stamped by one clock, so it need not be right.
    """
    if key.key_created_time is None or job.create_time is None:
        return None
    return key.key_created_time >= job.create_time - STAMP_TOLERANCE


def _fit(demand: Demand, seen: Observation, key: MasterKey) -> Start | Refuse:
    """Whether the cluster is fit for the rekey it needs."""
    blocking, warnings = _faults(demand, seen)
    unfit = _unfit(seen, blocking)
    if unfit:
        return Refuse(unfit)
    return Start(key, demand.key_management_type, demand.key_provider_id, warnings)


def made_at(key: MasterKey, seen: Observation) -> datetime | None:
    """When the key was made, as well as anybody can say; None where nobody can.

    The cluster's time counts unless it lies in our future. The last sight of the key before it, and the begin of its
    job where the cluster still shows it, are lower bounds: a late cluster clock makes no new key look old.
    """
    witnesses = [key.key_created_time] if key.key_created_time else []
    memory = recall(seen.memory, seen.identity.uuid, key, seen.at)
    if memory.key_made_after:
        witnesses.append(memory.key_made_after)
    if seen.job and seen.job.create_time and seen.job.new_key and seen.job.new_key.key_id == key.key_id:
        witnesses.append(seen.job.create_time)
    return max((made for made in witnesses if made <= seen.at + CLOCK_TOLERANCE), default=None)


def settle(intent: Intent, seen: Observation, settling: timedelta) -> Follow | Unsettled | Refuse | None:
    """Decide what became of a rekey that may have been sent; None: nothing, so plan anew.

    The cluster's state decides. Without a trace after ``settling`` the rekey was not applied; after the last attempt
    nobody tries again, and only further looks can settle it.
    """
    stranger = _stranger(seen.identity.uuid, ClusterMemory(intent.cluster_uuid), "")
    if stranger:
        return Refuse(stranger)
    handle = seen.encryption.rekey_async_result_id
    if handle not in (None, intent.baseline_async_result_id):
        return Follow(_assumed(intent, handle))
    key = seen.encryption.master_key
    if key is not None and key.key_id != intent.baseline_key.key_id:
        return Follow(_assumed(intent, None))
    if seen.at < intent.sent_at + settling or intent.attempts >= ATTEMPTS:
        return Unsettled()
    return None


def _assumed(intent: Intent, handle: int | None) -> Following:
    return Following(handle, own=True, since=intent.sent_at, baseline_key=intent.baseline_key, assumed=True)


def judge(
    following: Following,
    job: RekeyJob | None,
    encryption: EncryptionState,
    demand: Demand,
    now: datetime,
    settling: timedelta,
) -> Waiting | Ended | Replan | Refuse:
    """Decide how a followed rekey stands. The cluster's state decides; the handle alone never does.

    ``job`` is what ``GetAsyncResult`` says, None where it does not know the handle. A rekey that is only taken for ours
    is not judged before ``settling`` after ours was sent: until then ours may still come after it.
    """
    key = encryption.master_key
    if key is None:
        return Refuse(RotationNotProven("The cluster no longer names a master key."))
    if following.assumed and now < following.since + settling:
        return Waiting()
    superseded = encryption.rekey_async_result_id not in (None, following.async_handle)
    if following.assumed and superseded:
        return Refuse(RekeyOutcomeUnknown("Another rekey came after the one that was taken for ours."))
    if job is None:
        return _judge_by_state(following, key, encryption.rekey_async_result_id, now, settling)
    if not job.complete:
        return Waiting()
    if job.error:
        return _judge_error(following, key, now, job, job.error, superseded=superseded)
    return _judge_completed(following, key, now, job, demand, superseded=superseded)


def _judge_completed(
    following: Following, key: MasterKey, now: datetime, job: RekeyJob, demand: Demand, *, superseded: bool
) -> Ended | Replan | Refuse:
    """The job says it completed; where the state shows something else, another rekey came, or nobody can tell."""
    contradictions = list(_contradictions(following, job, key, demand))
    if not contradictions:
        return Ended(_change(following, key, now, job))
    change = _superseded_change(following, now, job)
    if superseded and (change or not following.own):
        return Replan("Another rekey came after the one that was followed.", change)
    return Refuse(RotationNotProven(f"The rekey completed, but {'; '.join(contradictions)}."))


def _judge_by_state(
    following: Following, key: MasterKey, listed: int | None, now: datetime, settling: timedelta
) -> Waiting | Ended | Replan | Refuse:
    """The handle is unknown to the cluster: not visible yet, or read away by somebody."""
    if following.async_handle is not None and listed == following.async_handle:
        return Waiting(unseen=True)
    if key.key_id != following.baseline_key.key_id:
        return Ended(_change(following, key, now, None))
    if now < following.since + settling:
        return Waiting(unseen=True)
    why = "The rekey's result is gone and the old key is still current: it failed, or goes on unseen."
    return Refuse(RekeyOutcomeUnknown(why)) if following.own else Replan(why)


def _judge_error(
    following: Following, key: MasterKey, now: datetime, job: RekeyJob, error: ElementError, *, superseded: bool
) -> Ended | Replan | Refuse:
    """The job ended with an error; the state tells on which side of the change of keys."""
    why = f"The rekey{' taken for ours' if following.assumed else ''} ended with {error.name}: {error.message}"
    if superseded:
        unknown = RekeyOutcomeUnknown(f"{why}, and another rekey came after it.")
        return Refuse(unknown) if following.own else Replan(why)
    if key.key_id == following.baseline_key.key_id:
        return Refuse(RekeyFailed(why)) if following.own else Replan(why)
    if following.own and _made_by(job, key) is False:
        return Refuse(RekeyOutcomeUnknown(f"{why}, and the current key {key.key_id} was made before it."))
    return Ended(_change(following, key, now, job))


def ended_with_error(change: KeyChange) -> RekeyEndedWithError | None:
    """The error of a change whose job did not end well, None where it did."""
    return _with_error(change.new_key, change.job_error) if change.job_error else None


def _with_error(key: MasterKey, error: ElementError) -> RekeyEndedWithError:
    what = f"Key {key.key_id} is current, but the rekey that made it ended with {error.name}: {error.message}"
    return RekeyEndedWithError(what)


def recall(memory: ClusterMemory | None, uuid: str, key: MasterKey, now: datetime | None) -> ClusterMemory:
    """What is remembered of a cluster after seeing ``key`` on it.

    ``now`` is None while a rekey runs: the next key may have been made already, so this sight says nothing of its age.
    """
    if memory is None or memory.uuid != uuid:
        return ClusterMemory(uuid, key.key_id, key_seen_at=now)
    seen_at = now or memory.key_seen_at
    if memory.key_id == key.key_id:
        return replace(memory, key_seen_at=seen_at)
    return replace(memory, key_id=key.key_id, key_made_after=memory.key_seen_at, key_seen_at=seen_at)


def next_wait(age: timedelta, left: timedelta) -> int:
    """Whole seconds until the next look at something ``age`` old, with ``left`` until the deadline.

    A quarter of the age, between 5 and 300 seconds: few polls, and late by a quarter of the duration at most, or by
    five seconds.
    """
    wait = min(max(age / 4, SHORTEST_WAIT), LONGEST_WAIT, max(left, SHORTEST_WAIT))
    return int(wait / timedelta(seconds=1))


def _stranger(uuid: str, memory: ClusterMemory | None, accepted: str) -> ClusterIdentityChanged | None:
    if memory is None or uuid in (memory.uuid, accepted):
        return None
    return ClusterIdentityChanged(f"The address answers as cluster {uuid}; remembered is {memory.uuid}.")


def _unfit(seen: Observation, blocking: tuple[str, ...]) -> ElementRekeyError | None:
    if seen.version.pending_cluster_version:
        return UpgradePending(f"An upgrade to Element {seen.version.pending_cluster_version} is pending.")
    check = seen.provider
    if check and check.provider is None:
        return KeyProviderUnusable(f"There is no KMIP key provider with keyProviderID {check.key_provider_id}.")
    if check and check.provider and not check.provider.key_server_ids:
        return KeyProviderUnusable(f"KMIP key provider {check.key_provider_id} has no key server.")
    if check and check.test_error:
        problem = f"{check.test_error.name}: {check.test_error.message}"
        return KeyProviderUnusable(f"KMIP key provider {check.key_provider_id} fails its test with {problem}.")
    if blocking:
        return ClusterFaultsBlock(f"Current faults stand against a rekey: {', '.join(blocking)}.")
    return None


def _faults(demand: Demand, seen: Observation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fault codes that block, and those that only deserve a warning."""
    blocking = FAULTS_BLOCKING_ALWAYS
    key = seen.encryption.master_key
    if seen.provider or (key and key.key_management_type is KeyManagementType.EXTERNAL):
        blocking |= FAULTS_BLOCKING_EXTERNAL
    if not demand.urgent:
        blocking |= FAULTS_BLOCKING_ROUTINE
    blocking -= demand.ignore_faults
    known = FAULTS_BLOCKING_ALWAYS | FAULTS_BLOCKING_EXTERNAL | FAULTS_BLOCKING_ROUTINE
    codes = sorted({fault.code for fault in seen.faults} & known)
    return tuple(c for c in codes if c in blocking), tuple(c for c in codes if c not in blocking)


def _contradictions(following: Following, job: RekeyJob, key: MasterKey, demand: Demand) -> Iterable[str]:
    """Everything that speaks against a completed rekey being what the cluster's state shows."""
    if job.new_key is None or job.key_to_decommission is None:
        yield "its result does not name both keys"
        return
    if job.new_key.key_id != key.key_id:
        yield f"it made key {job.new_key.key_id} and current is {key.key_id}"
    if not following.own:
        return  # followed from somewhere in its middle: the baseline may be either key
    if key.key_id == following.baseline_key.key_id:
        yield f"key {key.key_id} was current before it, too"
    if job.key_to_decommission.key_id != following.baseline_key.key_id:
        yield f"it retires {job.key_to_decommission.key_id} and not {following.baseline_key.key_id}"
    if not demand.of_kind(key):
        yield f"the key's management is {key.key_management_type}, provider {key.key_provider_id}, not as asked"


def _superseded_change(following: Following, now: datetime, job: RekeyJob) -> KeyChange | None:
    """What a rekey of ours did before another one replaced its key in turn."""
    retired = job.key_to_decommission
    if not (following.own and job.new_key and retired and retired.key_id == following.baseline_key.key_id):
        return None
    return _change(following, job.new_key, now, job)


def _change(following: Following, key: MasterKey, now: datetime, job: RekeyJob | None) -> KeyChange:
    finished = (job.last_update_time if job else None) or now
    begun = (job.create_time if job else None) or following.since
    retired = job.key_to_decommission if job else None
    old = following.baseline_key
    return KeyChange(
        old_key=retired if retired and retired.key_id != old.key_id else old,
        new_key=key,
        own=following.own,
        finished_at=finished,
        detected_at=now,
        job_result_read=job is not None,
        key_to_decommission=retired,
        job_error=job.error if job else None,
        job_seconds=max(0, round((finished - begun).total_seconds())),
    )
