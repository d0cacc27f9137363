"""What made a key that is seen for the first time: a rekey of ours, one that we followed, or nobody we know.

What an execution could not see to its end is settled by whoever first sees the key, by the same rules by which that
execution would have verified its rekey (docs/adr/0015).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from element_rekey.records import OutsideChange, Settled, asked_of

from .decisions import Follow, KeyChanged, Start, StillRunning, Superseded
from .demand import CLOCK_TOLERANCE
from .memory import age_of
from .verify import change_by_state, resolve_lost_answer, verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta

    from element_rekey.cluster import MasterKey
    from element_rekey.records import ClusterMemory, Execution, Following, KeyChange, Rotation

    from .decisions import Decision, Observation
    from .demand import Demand


@dataclass(frozen=True, slots=True)
class FirstSight:
    """A look that is first to show ``key`` where the ledger knows another one."""

    seen: Observation
    before: ClusterMemory
    key: MasterKey


def first_sight(seen: Observation, memory: ClusterMemory | None) -> FirstSight | None:
    """Whether ``memory``, made of this look, holds another key of the same cluster than the memory before it."""
    before, key = seen.memory, seen.encryption.master_key
    if memory is None or before is None or key is None or before.uuid != memory.uuid:
        return None
    return None if before.key_id in ("", memory.key_id) else FirstSight(seen, before, key)


def with_open_rekey(memory: ClusterMemory | None, decision: Decision, execution: Execution) -> ClusterMemory | None:
    """The memory with whose rekey is open from now on: one that is about to be sent, or is followed."""
    if memory and (isinstance(decision, Start) or (isinstance(decision, Follow) and memory.rekey_of is None)):
        return replace(memory, rekey_of=execution)
    return memory


# --- the rekey of an earlier execution ---


def open_rekey(record: Rotation, sight: FirstSight, settling: timedelta) -> Following | None:
    """The rekey of an execution that ended without knowing what became of it; None where there is none.

    After a lost answer that is what shows now, unless the key was made when that rekey could not come any more.
    """
    over = record.change or (record.outcome and not record.outcome.may_go_on)
    if over or record.cluster_uuid != sight.before.uuid:
        return None
    if record.following or record.intent is None:
        return record.following
    lost = resolve_lost_answer(record.intent, sight.seen, settling, record.cluster)
    if not isinstance(lost, Follow):
        return None
    made = age_of(sight.key, sight.seen).made
    too_late = made and made > record.intent.sent_at + settling + CLOCK_TOLERANCE
    return None if too_late else lost.following


def settled_change(rekey: Following, seen: Observation, demand: Demand, settling: timedelta) -> KeyChange | None:
    """What an open rekey did, as far as it is proven; ``seen.job`` is that rekey's, where the cluster knows it."""
    verified = verify(rekey, seen, demand, settling)
    match verified:
        case KeyChanged():
            return verified.change
        case Superseded():
            return verified.change
        case StillRunning() if not verified.shown:  # it is disregarded: listed, and never shown
            return change_by_state(rekey, seen)
        case _:
            return None


# --- what is written down ---


def told(
    rotation: Rotation, sight: FirstSight, earlier: Rotation | None, change: KeyChange | None
) -> tuple[Rotation, Rotation | None]:
    """The record with what it is first to see of a change of keys; and, where it settles it, the earlier execution's.

    ``earlier`` is the execution whose rekey was open, ``change`` what that rekey is found to have done.
    """
    settled = None
    if earlier and change:
        settled = replace(earlier, change=change, settled_by=rotation.execution)
        story = Settled(earlier.execution, asked_of(earlier), change)
        rotation = replace(rotation, settled=(*(rotation.settled or ()), story))
    known = [one for one in (change, earlier and earlier.change, rotation.change) if one]
    outside = tuple(_unexplained(sight, known))
    if outside:
        rotation = replace(rotation, outside=(*(rotation.outside or ()), *outside))
    return rotation, settled


def _unexplained(sight: FirstSight, known: Iterable[KeyChange]) -> Iterator[OutsideChange]:
    """The gaps in the way from the key that is remembered, over the changes that are known, to the key seen now."""
    before = sight.before
    last, remembered = before.key_id, {before.key_id, *(one.key_id for one in before.earlier_keys)}
    for change in known:
        if change.new_key.key_id in remembered:  # this step was made before the last look
            continue
        if change.old_key.key_id != last:
            yield _gap(last, change.old_key, sight)
        last = change.new_key.key_id
        remembered.add(last)
    if sight.key.key_id != last:
        yield _gap(last, sight.key, sight)


def _gap(last: str, key: MasterKey, sight: FirstSight) -> OutsideChange:
    return OutsideChange(
        old_key_id=last,
        new_key=key,
        old_key_seen_at=sight.before.key_seen_at,
        new_key_seen_at=sight.seen.at,
        rekey_async_result_id=sight.seen.encryption.rekey_async_result_id,
    )
