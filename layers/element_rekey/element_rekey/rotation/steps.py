"""What the steps of a rotation share: the record, the lock, the memory of the cluster, and carrying decisions out.

The order that keeps a rotation exactly-once: take the lock, look, write the intent down, act. What a step learns it
writes to the ledger before it returns, so nothing depends on an answer that may get lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, assert_never

from element_rekey.errors import failure_from
from element_rekey.records import Lock
from element_rekey.rules.closing import locked_until
from element_rekey.rules.decisions import Conclude, Fail, Follow, Refuse, StartAgain, Wait
from element_rekey.rules.waiting import for_rekey

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from element_rekey.cluster import EncryptionState
    from element_rekey.ports import ElementCluster, Ports
    from element_rekey.records import ClusterMemory, Following, Rotation
    from element_rekey.rules.decisions import Observation

Carried: TypeAlias = Wait | Follow | StartAgain | Conclude | Refuse | Fail
"""Every decision but Start, which ``rotation.start`` alone carries out."""


MOST_UNFAMILIAR = 20
"""Members that are kept of what could not be interpreted; the first cluster of a new kind needs no more to be known."""


class Status(StrEnum):
    """What the state machine does next; the value is its word for it."""

    CHECK_AGAIN = "running"  # wait, then check the status
    START_AGAIN = "busy"  # wait, if it is not at once, then start again
    PUBLISH = "ended"


@dataclass(frozen=True, slots=True)
class Step:
    """What a step answers: what comes next, the rotation, and how many seconds to wait before."""

    status: Status
    rotation: Rotation
    wait_seconds: int = 0


def take_lock(ports: Ports, rotation: Rotation, now: datetime, wait: timedelta) -> tuple[Lock, Rotation]:
    """Take or renew the lock until a lease after the next look; who holds it then, and the record as it is then.

    Whoever closes an execution frees its lock. A function that is overtaken by that before it takes the lock finds the
    record closed after it, and gives the lock back.
    """
    execution, cluster = rotation.execution, rotation.cluster
    holder = ports.ledger.take_lock(cluster, Lock(execution.id, now + wait + ports.settings.lease), now)
    rotation = ports.ledger.rotation(execution) or rotation
    if rotation.ended_at:
        ports.ledger.release_lock(cluster, execution.id, locked_until(rotation, ports.settings))
    return holder, rotation


def carry_out(ports: Ports, rotation: Rotation, decision: Carried, memory: ClusterMemory | None = None) -> Step:
    """Write a decision down and answer the step; ``memory`` is remembered with a conclusion.

    Raises the error of a decision that carries one.
    """
    match decision:
        case Wait():
            return _wait(ports, rotation, decision)
        case Follow():
            return _follow(ports, rotation, decision)
        case StartAgain():
            return _start_again(ports, rotation, decision)
        case Conclude():
            return _conclude(ports, rotation, decision, memory)
        case Refuse():
            raise decision.error
        case Fail():
            ports.ledger.save(replace(rotation, failure=failure_from(decision.error)))
            raise decision.error
        case _:
            assert_never(decision)


def _wait(ports: Ports, rotation: Rotation, decision: Wait) -> Step:
    """Start again later. Whoever waits for the end of a cool-down lets others have the cluster meanwhile."""
    rotation = replace(rotation, detail=decision.detail)
    if decision.cooling_until:
        rotation = ports.ledger.save(replace(rotation, cooling_until=decision.cooling_until))
        ports.ledger.release_lock(rotation.cluster, rotation.execution.id)
    return Step(Status.START_AGAIN, rotation, decision.seconds)


def with_unfamiliar(rotation: Rotation, seen: Observation) -> Rotation:
    """The rotation with what could not be interpreted in this look; of each member what was seen first."""
    kept = {one.member: one for one in rotation.unfamiliar or ()}
    for one in (*seen.encryption.unfamiliar, *(seen.job.unfamiliar if seen.job else ())):
        if one.member in kept or len(kept) < MOST_UNFAMILIAR:
            kept.setdefault(one.member, one)
    return replace(rotation, unfamiliar=tuple(kept.values()) or None)


def look_at_key(cluster: ElementCluster) -> EncryptionState:
    """What the cluster says of its key and of the latest rekey.

    0 is a handle where the cluster knows it as one. Else it is the word for none, in a member that is always there.
    """
    encryption = cluster.encryption()
    if encryption.rekey_async_result_id == 0 and cluster.rekey_job(0) is None:
        return replace(encryption, rekey_async_result_id=None)
    return encryption


def keep_following(ports: Ports, rotation: Rotation, following: Following) -> Step:
    """Check again after a wait that grows with the rekey's age."""
    return Step(Status.CHECK_AGAIN, rotation, for_rekey(rotation, following, ports.clock(), ports.settings))


def _follow(ports: Ports, rotation: Rotation, decision: Follow) -> Step:
    detail = decision.detail or rotation.detail
    rotation = ports.ledger.save(replace(rotation, following=decision.following, detail=detail))
    if decision.overdue:
        raise decision.overdue
    return keep_following(ports, rotation, decision.following)


def _start_again(ports: Ports, rotation: Rotation, decision: StartAgain) -> Step:
    disregarded = decision.disregarded_handle
    again = replace(
        rotation,
        following=None,
        intent=None,
        change=decision.change,
        disregarded_handle=rotation.disregarded_handle if disregarded is None else disregarded,
        detail=decision.detail,
    )
    return Step(Status.START_AGAIN, ports.ledger.save(again))


def _conclude(ports: Ports, rotation: Rotation, decision: Conclude, memory: ClusterMemory | None) -> Step:
    concluded = replace(
        rotation,
        outcome=decision.outcome,
        detail=decision.detail,
        change=decision.change,
        failure=decision.failure,
    )
    if memory is None:
        return Step(Status.PUBLISH, ports.ledger.save(concluded))
    # At once: a key that is remembered without its change being in a record would never be told, and an error counts as
    # reported only where the record says so.
    reported = memory.reported_error_of if decision.reported_error_of is None else decision.reported_error_of
    concluded, _ = ports.ledger.save_seen(concluded, replace(memory, reported_error_of=reported), None)
    return Step(Status.PUBLISH, concluded)
