"""The three steps of a rotation, over ports. Each may be repeated at any point of its course.

The order that keeps a rotation exactly-once: take the lock, look, write the intent down, act. What a step learns it
writes to the ledger before it returns, so nothing depends on an answer that may get lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, assert_never

from .errors import (
    AwsCallFailed,
    ClusterBusy,
    ClusterIdentityChanged,
    ElementRekeyError,
    ExecutionBroken,
    LedgerConflict,
    RekeyFailed,
    RekeyOutcomeUnknown,
    RekeyRefused,
    RequestInvalid,
    RotationOverdue,
    RotationUndone,
)
from .model import (
    EncryptionState,
    Execution,
    Failure,
    Following,
    Intent,
    KeyChange,
    KeyManagementType,
    Lock,
    MasterKey,
    Observation,
    Outcome,
    ProviderCheck,
    Request,
    Rotation,
)
from .planning import (
    CoolingDown,
    Ended,
    Flawed,
    Follow,
    Refuse,
    Replan,
    Satisfied,
    Start,
    Unsettled,
    Waiting,
    demand_of,
    ended_with_error,
    judge,
    next_wait,
    plan,
    recall,
    settle,
)

if TYPE_CHECKING:
    from datetime import datetime

    from .ports import ElementCluster, Ports


@dataclass(frozen=True, slots=True)
class Ending:
    """An execution to be closed."""

    execution: Execution
    cluster: str  # empty where the input names none
    request: Request | None  # None where the input is not a valid one
    failure: Failure | None  # None where no error was caught


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed rotation, and whether this call told of it; otherwise an earlier one did."""

    rotation: Rotation
    told_now: bool


PUBLISHING = timedelta(seconds=120)
"""How long a publisher is waited for: it is dead by then, and those who wait are retried for 180 seconds at least."""

Planned: TypeAlias = Start | Follow | Satisfied | Flawed | CoolingDown | Refuse
Decision: TypeAlias = Planned | Unsettled


class Status(StrEnum):
    """What the state machine does next."""

    RUNNING = "running"  # wait, then check the status
    BUSY = "busy"  # not our turn, or not yet the moment asked for: wait, then start again
    REPLAN = "replan"  # what was followed is over: start again at once
    ENDED = "ended"  # publish


@dataclass(frozen=True, slots=True)
class Step:
    """What a step answers: where the rotation stands and how many seconds to wait."""

    status: Status
    rotation: Rotation
    wait_seconds: int = 0


def start_rekey(ports: Ports, execution: Execution, request: Request) -> Step:
    """Look at the cluster and start a rekey if, and only if, one is needed.

    Rests on ``RekeySoftwareEncryptionAtRestMasterKey`` and the calls of ``_observe``. Raises the classes of ``errors``;
    RekeyOutcomeUnknown, ClusterUnavailable, LedgerConflict and AwsCallFailed ask for the step to be repeated.
    """
    now = ports.clock()
    demand = demand_of(request, execution.started_at)
    rotation = _record(ports, execution) or Rotation(execution, request.cluster, request)
    if rotation.outcome:
        return Step(Status.ENDED, rotation)
    if not request.dry_run:
        early = (request.key_created_after or now) - now
        if early > timedelta():
            return _wait_for_moment(rotation, early)
        holder, rotation = _take_lock(ports, rotation, now, timedelta())
        if rotation.outcome:
            return Step(Status.ENDED, rotation)
        if holder.owner != execution.id:
            return _wait_for_turn(ports, rotation, holder, now)
    if rotation.following:  # recorded, and the answer to it got lost
        return _keep_following(ports, rotation, rotation.following, now)
    cluster = ports.clusters.connect(request.cluster)
    seen = _observe(ports, cluster, request)
    rotation = replace(
        rotation,
        cluster_uuid=seen.identity.uuid,
        cluster_name=seen.identity.name,
        current_key=seen.encryption.master_key,
    )
    if request.dry_run:
        return _foretell(ports, rotation, plan(demand, seen))
    settled = settle(rotation.intent, seen, ports.settings.settling) if rotation.intent else None
    return _act(ports, cluster, rotation, seen, settled or plan(demand, seen, rotation.disregarded_handle))


def check_status(ports: Ports, execution: Execution) -> Step:
    """Look at the followed rekey and, once it is over, verify it against the cluster's own state.

    Rests on ``GetAsyncResult`` (kept), ``GetSoftwareEncryptionAtRestInfo`` and ``GetClusterInfo``. Raises the classes
    of ``errors``; the step can be repeated after any of them.
    """
    now = ports.clock()
    rotation = _record(ports, execution)
    if rotation is None or rotation.request is None:
        raise LedgerConflict("There is no record of what this execution follows.")
    demand = demand_of(rotation.request, execution.started_at)
    if rotation.following and not rotation.outcome:
        # Whoever took the lock over looks at the cluster first, so a lease that was lost is no reason to stop looking.
        wait = timedelta(seconds=_wait(ports, rotation, now - rotation.following.since))
        _, rotation = _take_lock(ports, rotation, now, wait)
    if rotation.outcome:
        return Step(Status.ENDED, rotation)
    following = rotation.following
    if following is None:  # recorded, and the answer to it got lost
        return Step(Status.REPLAN, rotation)
    cluster = ports.clusters.connect(rotation.cluster)
    job = cluster.rekey_job(following.async_handle) if following.async_handle is not None else None
    encryption = cluster.encryption()
    identity = cluster.identity()  # last: what was read before it came from no other cluster
    if identity.uuid != rotation.cluster_uuid:
        what = f"The address answers as cluster {identity.uuid}; the rekey runs on {rotation.cluster_uuid}."
        raise ClusterIdentityChanged(what, cluster=rotation.cluster)
    current_key = encryption.master_key or rotation.current_key
    rotation = replace(rotation, polls=rotation.polls + 1, current_key=current_key, failure=None)
    verdict = judge(following, job, encryption, demand, now, ports.settings.settling)
    match verdict:
        case Waiting():
            phase = job.phase if job else ""
            return _keep_waiting(ports, rotation, following, phase, now, unseen=verdict.unseen)
        case Ended():
            return _change_seen(ports, rotation, following, encryption, verdict.change)
        case Replan():
            return _replan(ports, replace(rotation, change=verdict.change or rotation.change), verdict.why)
        case Refuse():
            raise _written_down(ports, rotation, verdict.error)
        case _:
            assert_never(verdict)


def publish_outcome(ports: Ports, ending: Ending) -> Closed:
    """Close the rotation in the ledger, free its lock and publish it, once for each execution.

    Rests on ``sns:Publish``. Safe to repeat and to run twice at the same time: the first to write closes it, a second
    one waits until the first has published or must be dead. Raises LedgerConflict and AwsCallFailed.
    """
    now = ports.clock()
    execution = ending.execution
    rotation = _record(ports, execution) or Rotation(execution, ending.cluster, ending.request)
    if rotation.notified_at is None:
        if rotation.publishing_until and now < rotation.publishing_until:
            raise LedgerConflict("Another invocation is publishing this outcome.", cluster=rotation.cluster)
        if rotation.ended_at is None:
            outcome, failure = conclude(rotation, ending.failure)
            rotation = replace(rotation, outcome=outcome, failure=failure, ended_at=now)
        rotation = ports.ledger.save(replace(rotation, publishing_until=now + PUBLISHING))
    if rotation.cluster:
        ports.ledger.release_lock(rotation.cluster, execution.id, _keep_until(ports, rotation))
    if rotation.notified_at:
        return Closed(rotation, told_now=False)
    try:
        ports.topic.publish(rotation)
    except AwsCallFailed:  # alive, and not publishing any more: whoever tries again need not wait for us
        ports.ledger.save(replace(rotation, publishing_until=None))
        raise
    return Closed(ports.ledger.save(replace(rotation, notified_at=ports.clock())), told_now=True)


def conclude(rotation: Rotation, failure: Failure | None) -> tuple[Outcome, Failure | None]:
    """The outcome of a rotation that ended with ``failure``, or with what its steps recorded."""
    if rotation.outcome:
        return rotation.outcome, rotation.failure
    what = "The execution ended without an outcome."
    failure = rotation.failure or failure or Failure(ExecutionBroken.__name__, what, ExecutionBroken.next_step)
    if failure.error == RotationOverdue.__name__:
        return Outcome.OVERDUE, failure
    changed = rotation.change and rotation.change.own  # before another rekey came after it
    maybe_running = (rotation.following or rotation.intent) and failure.error != RekeyFailed.__name__
    return Outcome.OUTCOME_UNKNOWN if changed or maybe_running else Outcome.FAILED, failure


def _record(ports: Ports, execution: Execution) -> Rotation | None:
    """The record of an execution. Raises RequestInvalid if it is that of an earlier one with the same name."""
    rotation = ports.ledger.rotation(execution.id)
    if rotation and abs(rotation.execution.started_at - execution.started_at) > _SAME_START:
        what = f"An execution of this name ran on {rotation.execution.started_at:%Y-%m-%d}; choose another name."
        raise RequestInvalid(what, cluster=rotation.cluster)
    return rotation


_SAME_START = timedelta(seconds=1)  # the state machine and its status-change events tell the start in two ways


def _take_lock(ports: Ports, rotation: Rotation, now: datetime, wait: timedelta) -> tuple[Lock, Rotation]:
    """Take or renew the lock until a lease after the next look; who holds it then, and the record as it is then.

    Whoever closes an execution frees its lock. A function that is overtaken by that before it takes the lock finds the
    record closed after it, and gives the lock back.
    """
    execution, cluster = rotation.execution, rotation.cluster
    holder = ports.ledger.take_lock(cluster, Lock(execution.id, now + wait + ports.settings.lease), now)
    rotation = _record(ports, execution) or rotation
    if rotation.ended_at:
        ports.ledger.release_lock(cluster, execution.id, _keep_until(ports, rotation))
    return holder, rotation


def _observe(ports: Ports, cluster: ElementCluster, request: Request) -> Observation:
    at = ports.clock()  # before every look: what is seen is at least as recent
    cluster.check_api_version()
    version = cluster.version()
    faults = cluster.faults()
    encryption = cluster.encryption()
    handle = encryption.rekey_async_result_id
    job = cluster.rekey_job(handle) if handle is not None else None
    if job and job.complete:  # perhaps since the look before, which showed the key it replaced
        encryption = cluster.encryption()
        job = job if encryption.rekey_async_result_id == handle else None
    provider = _provider(cluster, request, encryption.master_key)
    identity = cluster.identity()  # last: what was read before it came from no other cluster
    return Observation(
        at=at,
        identity=identity,
        memory=ports.ledger.memory(request.cluster),
        version=version,
        encryption=encryption,
        job=job,
        faults=faults,
        provider=provider,
    )


def _provider(cluster: ElementCluster, request: Request, key: MasterKey | None) -> ProviderCheck | None:
    """The external provider a rekey would use: the one asked for, or else the one in use."""
    kind, provider_id = request.key_management_type, request.key_provider_id
    if kind is None and key:
        kind, provider_id = key.key_management_type, key.key_provider_id
    if kind is not KeyManagementType.EXTERNAL or provider_id is None:
        return None
    provider = next((one for one in cluster.key_providers() if one.key_provider_id == provider_id), None)
    testable = provider is not None and provider.key_server_ids
    return ProviderCheck(provider_id, provider, cluster.test_key_provider(provider_id) if testable else None)


def _act(ports: Ports, cluster: ElementCluster, rotation: Rotation, seen: Observation, decision: Decision) -> Step:
    if isinstance(decision, Refuse):
        raise _named(decision.error, rotation)
    if isinstance(decision, Unsettled):
        what = "A rekey was sent, its answer was lost, and the cluster does not show yet what became of it."
        raise RekeyOutcomeUnknown(what, cluster=rotation.cluster)
    if isinstance(decision, Flawed):
        return _end_with_error(ports, rotation, decision.error, seen.encryption, seen.at)
    if isinstance(decision, Start) and rotation.change and rotation.change.own:
        raise _written_down(ports, rotation, _undone(rotation.change, decision.baseline_key))
    _remember(ports, rotation, seen.encryption, None if isinstance(decision, Follow) else seen.at)
    match decision:
        case Start():
            return _begin(ports, cluster, rotation, seen, decision)
        case Follow():
            return _follow(ports, rotation, decision.following)
        case Satisfied():
            return _satisfied(ports, rotation, seen, decision)
        case CoolingDown():
            until = _clock(decision.until)
            detail = f"The key is too new: cooling down until {until}. Override with force and a reason."
            return _end(ports, rotation, Outcome.COOLING_DOWN, detail)
        case _:
            assert_never(decision)


def _undone(change: KeyChange, key: MasterKey) -> RotationUndone:
    """One demand, one rekey: what somebody else has made of it since is told, and not fought."""
    return RotationUndone(f"{_replaced(change)} Another rekey came after it, and its key {key.key_id} is not as asked.")


def _remember(
    ports: Ports, rotation: Rotation, seen: EncryptionState, now: datetime | None, told_error_of: int | None = None
) -> None:
    """Remember the key seen on a cluster, ``now`` None where a rekey runs, and the rekey whose error is told of now."""
    if seen.master_key:
        known = ports.ledger.memory(rotation.cluster)
        memory = recall(known, rotation.cluster_uuid, seen.master_key, now)
        told = memory.told_error_of if told_error_of is None else told_error_of
        ports.ledger.remember(rotation.cluster, replace(memory, told_error_of=told))


def _begin(ports: Ports, cluster: ElementCluster, rotation: Rotation, seen: Observation, decision: Start) -> Step:
    """Write the intent, then send the rekey; the one place that changes a cluster."""
    previous, now = rotation.intent, ports.clock()
    intent = Intent(
        cluster_uuid=seen.identity.uuid,
        baseline_key=decision.baseline_key,
        baseline_async_result_id=seen.encryption.rekey_async_result_id,
        sent_at=now,
        attempts=(previous.attempts if previous else 0) + 1,
    )
    detail = f"Replacing key {decision.baseline_key.key_id}{_warning(decision)}."
    rotation = ports.ledger.save_intent(replace(rotation, intent=intent, detail=detail), now)
    try:
        handle = cluster.rekey(decision.key_management_type, decision.key_provider_id)
    except RekeyOutcomeUnknown:
        raise
    except RekeyRefused:
        found = settle(intent, replace(seen, encryption=cluster.encryption()), ports.settings.settling)
        if isinstance(found, Follow):  # somebody else's rekey came in between, and ours was refused for it
            return _follow(ports, rotation, replace(found.following, own=False, assumed=False))
        ports.ledger.save(replace(rotation, intent=previous))
        raise
    except ElementRekeyError:  # every other class: certainly not applied
        ports.ledger.save(replace(rotation, intent=previous))
        raise
    return _follow(ports, rotation, Following(handle, own=True, since=now, baseline_key=decision.baseline_key))


def _follow(ports: Ports, rotation: Rotation, following: Following) -> Step:
    foreign = f"Following rekey {following.async_handle}, begun by somebody else."
    detail = rotation.detail if following.own else foreign
    rotation = ports.ledger.save(replace(rotation, following=following, detail=detail))
    return _keep_following(ports, rotation, following, ports.clock())


def _keep_following(ports: Ports, rotation: Rotation, following: Following, now: datetime) -> Step:
    return Step(Status.RUNNING, rotation, _wait(ports, rotation, now - following.since))


def _satisfied(ports: Ports, rotation: Rotation, seen: Observation, decision: Satisfied) -> Step:
    made, change, key = _clock(decision.made), rotation.change, seen.encryption.master_key
    if change and change.own:
        detail = f"{_replaced(change)} Another rekey came after it and made the current key at {made}."
        return _end(ports, rotation, Outcome.ROTATED, detail)
    if change and key and change.new_key.key_id == key.key_id:
        error = ended_with_error(change)
        if error:
            return _end_with_error(ports, rotation, error, seen.encryption, seen.at)
        return _end(ports, rotation, Outcome.FOLLOWED, f"Somebody else's rekey made the current key at {made}.")
    detail = f"The current key was made at {made}, which is recent enough."
    return _end(ports, replace(rotation, change=None), Outcome.NOT_DUE, detail)


def _foretell(ports: Ports, rotation: Rotation, decision: Planned) -> Step:
    """What a dry run says it would do."""
    match decision:
        case Start():
            return _end(ports, rotation, Outcome.PLANNED, f"Would replace the current key{_warning(decision)}.")
        case Follow():
            detail = f"Would follow rekey {decision.following.async_handle}, which is running already."
            return _end(ports, rotation, Outcome.PLANNED, detail)
        case Satisfied():
            return _end(ports, rotation, Outcome.NOT_DUE, f"The current key was made at {_clock(decision.made)}.")
        case Flawed():
            return _end(
                ports, rotation, Outcome.NOT_DUE, f"The current key is recent enough, but: {decision.error.what}"
            )
        case CoolingDown():
            return _end(ports, rotation, Outcome.COOLING_DOWN, f"Would not rotate before {_clock(decision.until)}.")
        case Refuse():
            raise _named(decision.error, rotation)
        case _:
            assert_never(decision)


def _keep_waiting(
    ports: Ports, rotation: Rotation, following: Following, phase: str, now: datetime, *, unseen: bool
) -> Step:
    since = (following.unseen_since or now) if unseen else None
    if since and not following.own and now >= since + ports.settings.settling:
        why = f"The cluster lists rekey {following.async_handle} but never shows it."
        return _replan(ports, replace(rotation, disregarded_handle=following.async_handle), why)
    detail = phase or rotation.detail
    rotation = ports.ledger.save(replace(rotation, following=replace(following, unseen_since=since), detail=detail))
    if now >= _deadline(ports, rotation):
        still = "is still listed and not shown" if unseen else "still runs"
        what = f"Rekey {following.async_handle} {still} after {now - following.since}."
        raise RotationOverdue(what, cluster=rotation.cluster)
    return _keep_following(ports, rotation, following, now)


def _change_seen(
    ports: Ports, rotation: Rotation, following: Following, seen: EncryptionState, change: KeyChange
) -> Step:
    if not change.own:
        kept = rotation.change if rotation.change and rotation.change.own else change
        return _replan(
            ports, replace(rotation, change=kept), f"Somebody else's rekey made key {change.new_key.key_id}."
        )
    assumed = " The answer to our rekey was lost; this one is taken for it." if following.assumed else ""
    proof = "" if change.job_result_read else " Its result was read away; the cluster's own state shows the change."
    detail = f"{_replaced(change)}{assumed}{proof}"
    error = ended_with_error(change)
    if error:
        return _end_with_error(ports, replace(rotation, change=change, detail=detail), error, seen, change.detected_at)
    _remember(ports, rotation, seen, change.detected_at)
    return _end(ports, replace(rotation, change=change), Outcome.ROTATED, detail)


def _replaced(change: KeyChange) -> str:
    return f"Key {change.old_key.key_id} was replaced by {change.new_key.key_id}."


def _end_with_error(
    ports: Ports, rotation: Rotation, error: ElementRekeyError, seen: EncryptionState, at: datetime
) -> Step:
    """Record that the rekey that made the current key ended with an error; told of once, then never again."""
    failure = _failure(_named(error, rotation))
    rotation = ports.ledger.save(replace(rotation, outcome=Outcome.ROTATED_WITH_ERROR, failure=failure))
    _remember(ports, rotation, seen, at, seen.rekey_async_result_id)
    return Step(Status.ENDED, rotation)


def _written_down(ports: Ports, rotation: Rotation, error: ElementRekeyError) -> ElementRekeyError:
    """The error, recorded before it is raised: whoever closes the rotation may know no more than that it broke."""
    error = _named(error, rotation)
    ports.ledger.save(replace(rotation, failure=_failure(error)))
    return error


def _failure(error: ElementRekeyError) -> Failure:
    return Failure(type(error).__name__, error.what, error.next_step)


def _replan(ports: Ports, rotation: Rotation, why: str) -> Step:
    return Step(Status.REPLAN, ports.ledger.save(replace(rotation, following=None, intent=None, detail=why)))


def _end(ports: Ports, rotation: Rotation, outcome: Outcome, detail: str) -> Step:
    ended = replace(rotation, outcome=outcome, failure=None, detail=detail)
    return Step(Status.ENDED, ports.ledger.save(ended))


def _wait_for_moment(rotation: Rotation, early: timedelta) -> Step:
    """Wait until a key made now meets the demand: one made before would have to be replaced for it once more."""
    detail = "Waiting for the moment after which the key is to be made."
    return Step(Status.BUSY, replace(rotation, detail=detail), int(early / timedelta(seconds=1)) + 1)


def _wait_for_turn(ports: Ports, rotation: Rotation, holder: Lock, now: datetime) -> Step:
    if now >= rotation.execution.started_at + ports.settings.deadline:
        what = f"Execution {holder.owner} holds it until {_clock(holder.lease_until)}."
        raise ClusterBusy(what, cluster=rotation.cluster)
    detail = f"Waiting for execution {holder.owner}."
    return Step(
        Status.BUSY, replace(rotation, detail=detail), _wait(ports, rotation, now - rotation.execution.started_at)
    )


def _wait(ports: Ports, rotation: Rotation, age: timedelta) -> int:
    return next_wait(age, _deadline(ports, rotation) - ports.clock())


def _deadline(ports: Ports, rotation: Rotation) -> datetime:
    """Until when to look; a rekey that is taken for ours at least until it may be judged."""
    deadline, following = rotation.execution.started_at + ports.settings.deadline, rotation.following
    return max(deadline, following.since + ports.settings.settling) if following and following.assumed else deadline


def _keep_until(ports: Ports, rotation: Rotation) -> datetime | None:
    """Until when a rekey that may have been sent can still show on the cluster; None where there is none."""
    intent = rotation.intent
    if intent and rotation.outcome is Outcome.OUTCOME_UNKNOWN:
        return intent.sent_at + ports.settings.settling
    return None


def _named(error: ElementRekeyError, rotation: Rotation) -> ElementRekeyError:
    error.cluster = rotation.cluster
    return error


def _warning(decision: Start) -> str:
    return f" in spite of {', '.join(decision.warnings)}" if decision.warnings else ""


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
