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
    ClusterBusy,
    ClusterIdentityChanged,
    ElementRekeyError,
    ExecutionBroken,
    LedgerConflict,
    RekeyEndedWithError,
    RekeyFailed,
    RekeyOutcomeUnknown,
    RekeyRefused,
    RotationOverdue,
)
from .model import (
    ClusterMemory,
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


Planned: TypeAlias = Start | Follow | Satisfied | CoolingDown | Refuse
Decision: TypeAlias = Planned | Unsettled


class Status(StrEnum):
    """What the state machine does next."""

    RUNNING = "running"  # wait, then check the status
    BUSY = "busy"  # another execution holds the cluster: wait, then start again
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
    rotation = ports.ledger.rotation(execution.id) or Rotation(execution, request.cluster, request)
    if rotation.outcome:
        return Step(Status.ENDED, rotation)
    if not request.dry_run:
        holder = ports.ledger.take_lock(request.cluster, Lock(execution.id, now + ports.settings.lease), now)
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
    demand = demand_of(request, execution.started_at)
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
    rotation = ports.ledger.rotation(execution.id)
    if rotation is None or rotation.request is None:
        raise LedgerConflict("There is no record of what this execution follows.")
    if rotation.outcome:
        return Step(Status.ENDED, rotation)
    following = rotation.following
    if following is None:  # recorded, and the answer to it got lost
        return Step(Status.REPLAN, rotation)
    demand = demand_of(rotation.request, execution.started_at)
    # Whoever took the lock over looks at the cluster first, so a lease that was lost is no reason to stop looking.
    wait = timedelta(seconds=_wait(ports, rotation, now - following.since))
    ports.ledger.take_lock(rotation.cluster, Lock(execution.id, now + wait + ports.settings.lease), now)
    cluster = ports.clusters.connect(rotation.cluster)
    identity = cluster.identity()
    if identity.uuid != rotation.cluster_uuid:
        what = f"The address answers as cluster {identity.uuid}; the rekey runs on {rotation.cluster_uuid}."
        raise ClusterIdentityChanged(what, cluster=rotation.cluster)
    job = cluster.rekey_job(following.async_handle) if following.async_handle is not None else None
    encryption = cluster.encryption()
    rotation = replace(rotation, polls=rotation.polls + 1, current_key=encryption.master_key or rotation.current_key)
    verdict = judge(following, job, encryption, demand, now, ports.settings.settling)
    match verdict:
        case Waiting():
            phase = job.phase if job else ""
            return _keep_waiting(ports, rotation, following, phase, now, unseen=verdict.unseen)
        case Ended():
            return _change_seen(ports, replace(rotation, change=verdict.change), verdict.change)
        case Replan():
            return _replan(ports, rotation, verdict.why)
        case Refuse():
            ports.ledger.save(rotation)
            raise _named(verdict.error, rotation)
        case _:
            assert_never(verdict)


def publish_outcome(ports: Ports, ending: Ending) -> Closed:
    """Close the rotation in the ledger, free its lock and publish it, once for each execution.

    Rests on ``sns:Publish``. Safe to repeat and to run twice at the same time: the first to write closes it, a second
    one waits until the first has published or must be dead. Raises LedgerConflict and AwsCallFailed.
    """
    now = ports.clock()
    execution = ending.execution
    rotation = ports.ledger.rotation(execution.id) or Rotation(execution, ending.cluster, ending.request)
    if rotation.notified_at is None:
        if rotation.publishing_until and now < rotation.publishing_until:
            raise LedgerConflict("Another invocation is publishing this outcome.", cluster=rotation.cluster)
        if rotation.ended_at is None:
            outcome, failure = conclude(rotation, ending.failure)
            rotation = replace(rotation, outcome=outcome, failure=failure, ended_at=now)
        rotation = ports.ledger.save(replace(rotation, publishing_until=now + ports.settings.settling))
    if rotation.cluster:
        ports.ledger.release_lock(rotation.cluster, execution.id, _keep_until(ports, rotation))
    if rotation.notified_at:
        return Closed(rotation, told_now=False)
    ports.topic.publish(rotation)
    return Closed(ports.ledger.save(replace(rotation, notified_at=ports.clock())), told_now=True)


def conclude(rotation: Rotation, failure: Failure | None) -> tuple[Outcome, Failure | None]:
    """The outcome of a rotation that ended with ``failure``, or with what its steps recorded."""
    if rotation.outcome:
        return rotation.outcome, rotation.failure
    failure = failure or Failure(
        "ExecutionBroken", "The execution ended without an outcome.", ExecutionBroken.next_step
    )
    verdict = _VERDICTS.get(failure.error)
    if verdict:
        return verdict, failure
    maybe_running = rotation.following.own if rotation.following else rotation.intent is not None
    return Outcome.OUTCOME_UNKNOWN if maybe_running else Outcome.FAILED, failure


_VERDICTS = {
    RekeyFailed.__name__: Outcome.FAILED,
    RekeyEndedWithError.__name__: Outcome.ROTATED_WITH_ERROR,
    RotationOverdue.__name__: Outcome.OVERDUE,
}
"""Errors that say by themselves how the rekey ended; with any other one, what we began may still be running."""


def _observe(ports: Ports, cluster: ElementCluster, request: Request) -> Observation:
    cluster.check_api_version()
    identity = cluster.identity()
    version = cluster.version()
    faults = cluster.faults()
    encryption = cluster.encryption()
    handle = encryption.rekey_async_result_id
    job = cluster.rekey_job(handle) if handle is not None else None
    if job and job.complete:  # perhaps since the look before, which showed the key it replaced
        encryption = cluster.encryption()
        job = job if encryption.rekey_async_result_id == handle else None
    return Observation(
        at=ports.clock(),
        identity=identity,
        memory=ports.ledger.memory(request.cluster),
        version=version,
        encryption=encryption,
        job=job,
        faults=faults,
        provider=_provider(cluster, request, encryption.master_key),
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


def _remember_identity(ports: Ports, rotation: Rotation, seen: Observation) -> None:
    if seen.memory is None or seen.memory.uuid != seen.identity.uuid:
        ports.ledger.remember(rotation.cluster, ClusterMemory(seen.identity.uuid))


def _act(ports: Ports, cluster: ElementCluster, rotation: Rotation, seen: Observation, decision: Decision) -> Step:
    if isinstance(decision, Refuse):
        raise _named(decision.error, rotation)
    if isinstance(decision, Unsettled):
        what = "A rekey was sent, its answer was lost, and the cluster does not show yet what became of it."
        raise RekeyOutcomeUnknown(what, cluster=rotation.cluster)
    _remember_identity(ports, rotation, seen)
    match decision:
        case Start():
            return _begin(ports, cluster, rotation, seen, decision)
        case Follow():
            return _follow(ports, rotation, decision.following)
        case Satisfied():
            return _satisfied(ports, rotation, decision)
        case CoolingDown():
            detail = (
                f"The key is too new: cooling down until {_clock(decision.until)}. Override with force and a reason."
            )
            return _end(ports, rotation, Outcome.COOLING_DOWN, detail)
        case _:
            assert_never(decision)


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
    rotation = ports.ledger.save_intent(replace(rotation, intent=intent, change=None, detail=detail), now)
    try:
        handle = cluster.rekey(decision.key_management_type, decision.key_provider_id)
    except RekeyOutcomeUnknown:
        raise
    except RekeyRefused:
        found = settle(intent, replace(seen, at=now, encryption=cluster.encryption()), ports.settings.settling)
        if isinstance(found, Follow):  # somebody else's rekey came in between, and ours was refused for it
            return _follow(ports, rotation, replace(found.following, own=False))
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


def _satisfied(ports: Ports, rotation: Rotation, decision: Satisfied) -> Step:
    made = _clock(decision.made)
    change = rotation.change
    if change and rotation.current_key and change.new_key.key_id == rotation.current_key.key_id:
        error = ended_with_error(change)
        if error:
            raise _named(error, rotation)
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
    if now >= rotation.execution.started_at + ports.settings.deadline:
        what = f"Rekey {following.async_handle} still runs after {now - following.since}."
        raise RotationOverdue(what, cluster=rotation.cluster)
    return _keep_following(ports, rotation, following, now)


def _change_seen(ports: Ports, rotation: Rotation, change: KeyChange) -> Step:
    if not change.own:
        return _replan(ports, rotation, f"Somebody else's rekey made key {change.new_key.key_id}.")
    if rotation.intent:
        memory = ClusterMemory(rotation.cluster_uuid, change.new_key.key_id, rotation.intent.sent_at)
        ports.ledger.remember(rotation.cluster, memory)
    error = ended_with_error(change)
    if error:
        ports.ledger.save(rotation)
        raise _named(error, rotation)
    proof = (
        "" if change.job_result_read else " The job's result was read away; the cluster's own state shows the change."
    )
    return _end(
        ports, rotation, Outcome.ROTATED, f"Key {change.old_key.key_id} was replaced by {change.new_key.key_id}.{proof}"
    )


def _replan(ports: Ports, rotation: Rotation, why: str) -> Step:
    return Step(Status.REPLAN, ports.ledger.save(replace(rotation, following=None, intent=None, detail=why)))


def _end(ports: Ports, rotation: Rotation, outcome: Outcome, detail: str) -> Step:
    return Step(Status.ENDED, ports.ledger.save(replace(rotation, outcome=outcome, detail=detail)))


def _wait_for_turn(ports: Ports, rotation: Rotation, holder: Lock, now: datetime) -> Step:
    if now >= rotation.execution.started_at + ports.settings.deadline:
        what = f"Execution {holder.owner} holds it until {_clock(holder.lease_until)}."
        raise ClusterBusy(what, cluster=rotation.cluster)
    detail = f"Waiting for execution {holder.owner}."
    return Step(
        Status.BUSY, replace(rotation, detail=detail), _wait(ports, rotation, now - rotation.execution.started_at)
    )


def _wait(ports: Ports, rotation: Rotation, age: timedelta) -> int:
    left = rotation.execution.started_at + ports.settings.deadline - ports.clock()
    return next_wait(age, left)


def _keep_until(ports: Ports, rotation: Rotation) -> datetime | None:
    """Until when a rekey that may have been sent can still show on the cluster; None where there is none."""
    intent = rotation.intent
    if intent and not rotation.following and rotation.outcome is Outcome.OUTCOME_UNKNOWN:
        return intent.sent_at + ports.settings.settling
    return None


def _named(error: ElementRekeyError, rotation: Rotation) -> ElementRekeyError:
    error.cluster = rotation.cluster
    return error


def _warning(decision: Start) -> str:
    return f" in spite of {', '.join(decision.warnings)}" if decision.warnings else ""


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
