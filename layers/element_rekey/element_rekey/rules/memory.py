"""What is remembered of a cluster, and what that says: which cluster it is, and how old its key is (docs/adr/0002)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from element_rekey.errors import ClusterIdentityChanged, ClusterRegisteredTwice
from element_rekey.moments import is_plausible
from element_rekey.records import ClusterMemory, EarlierKey

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey.cluster import MasterKey, RekeyJob

    from .decisions import Observation

STAMP_TOLERANCE = timedelta(seconds=2)
"""How far two times of one cluster may be off: each is in whole seconds, and set right by its own answer's ``Date``."""

REMEMBERED_KEYS = 16
"""How many earlier keys of a cluster are remembered: enough for two nodes that disagree for a while."""


def identity_changed(
    cluster: str, uuid: str, memory: ClusterMemory | None, accepted: str = ""
) -> ClusterIdentityChanged | None:
    """The error of a cluster that is not the one remembered, nor the one a person accepted in its place."""
    if memory is None or uuid in (memory.uuid, accepted):
        return None
    what = f"The address answers as cluster {uuid}; remembered is {memory.uuid}."
    return ClusterIdentityChanged(what, cluster=cluster)


def registered_twice(cluster: str, seen: Observation, accepted: str) -> ClusterRegisteredTwice | None:
    """The error of a cluster that belongs to another registration, unless a person wants it moved to this one."""
    if not seen.registered_as or accepted == seen.identity.uuid:
        return None
    what = f"Cluster {seen.identity.uuid} is registered as {seen.registered_as}, too."
    return ClusterRegisteredTwice(what, cluster=cluster)


def is_claimed(seen: Observation) -> bool:
    """Whether the ledger is known to say that the cluster belongs to the registration it was looked at by."""
    return bool(seen.memory and seen.memory.claimed and seen.memory.uuid == seen.identity.uuid)


def updated_memory(seen: Observation, key: MasterKey, *, rekey_runs: bool) -> ClusterMemory:
    """What is remembered of a cluster after seeing ``key`` on it, to be written over ``seen.memory``.

    While a rekey runs the next key may have been made already, though it is not current yet: such a sight is no lower
    bound of its age, and a memory that is there stays as it is.
    """
    memory, now = seen.memory, seen.at
    if memory is None or memory.uuid != seen.identity.uuid:
        version = memory.version if memory else 0
        fresh = ClusterMemory(seen.identity.uuid, version=version)
        return _with_key(fresh, key, EarlierKey(key.key_id), seen, seen_at=None if rekey_runs else now)
    if rekey_runs:
        return memory
    if memory.key_id == key.key_id:
        known_since = memory.key_known_since or seen.key_exists_at
        seen_at = max(now, memory.key_seen_at or now)  # a function that hung before its look began it earlier
        return replace(
            memory,
            key_seen_at=seen_at,
            key_known_since=known_since,
            key_created_time=key.key_created_time,
            rekey_of=None,  # nothing runs, and the key is as it was: whatever was sent has changed nothing
        )
    changed = replace(memory, earlier_keys=_earlier(memory, key))
    return _with_key(changed, key, _origin(memory, key, seen.job), seen, seen_at=now)


def _with_key(
    memory: ClusterMemory, key: MasterKey, origin: EarlierKey, seen: Observation, seen_at: datetime | None
) -> ClusterMemory:
    return replace(
        memory,
        key_id=key.key_id,
        key_made_after=origin.made_after,
        key_seen_at=seen_at,
        key_known_since=origin.known_since or seen.key_exists_at,
        key_created_time=key.key_created_time,
        rekey_of=None,
    )


def _earlier(memory: ClusterMemory, key: MasterKey) -> tuple[EarlierKey, ...]:
    last = EarlierKey(memory.key_id, memory.key_made_after, memory.key_known_since)
    others = (one for one in memory.earlier_keys if one.key_id not in (key.key_id, last.key_id))
    return (last, *others)[:REMEMBERED_KEYS]


def _origin(memory: ClusterMemory, key: MasterKey, job: RekeyJob | None) -> EarlierKey:
    """Where a key comes from that is another one than at the last look.

    A new key was made after the last sight of the one before it. One that we knew, or whose stamp is older than that of
    the key it replaces, came back: from a node that lagged behind, or by undoing a rekey. The cluster's clock may have
    been set back in between; then the job that made the key shows that it is new.
    """
    for one in memory.earlier_keys:
        if one.key_id == key.key_id:
            return one
    stamps = (memory.key_created_time, key.key_created_time)
    made_by_job = job and job.new_key and job.new_key.key_id == key.key_id
    if stamps[0] and stamps[1] and stamps[1] < stamps[0] - STAMP_TOLERANCE and not made_by_job:
        return EarlierKey(key.key_id)
    return EarlierKey(key.key_id, made_after=memory.key_seen_at)


def remembered_key_made(memory: ClusterMemory) -> datetime | None:
    """When the last key seen on a cluster was made, as well as its memory can say; None where no key was ever seen.

    As ``age_of``, without a look at the cluster. Where no time is credible, the key is at least as old as our sight of
    it.
    """
    known_since = memory.key_known_since
    witnesses = (one for one in (memory.key_created_time, memory.key_made_after) if one and is_plausible(one))
    credible = [one for one in witnesses if known_since is None or one <= known_since + STAMP_TOLERANCE]
    return max(credible, default=known_since)


@dataclass(frozen=True, slots=True)
class KeyAge:
    """When a key was made: at ``made``, as well as anybody can say, and certainly not after ``known_since``."""

    made: datetime | None
    known_since: datetime


def age_of(key: MasterKey, seen: Observation) -> KeyAge:
    """What the cluster's stamp and our own looks say of a key's age.

    The stamp counts unless it lies after the first sight of the key: then the cluster's clock was ahead when the key
    was made, though it may be right by now. The last sight of the key before it, and the begin of its job where the
    cluster still shows it, are lower bounds: a late cluster clock makes no new key look old.
    """
    memory = updated_memory(seen, key, rekey_runs=False)
    known_since = min(memory.key_known_since or seen.key_exists_at, seen.key_exists_at)
    witnesses = [key.key_created_time, memory.key_made_after]
    if seen.job and seen.job.new_key and seen.job.new_key.key_id == key.key_id:
        witnesses.append(seen.job.create_time)
    credible = (one for one in witnesses if one and one <= known_since + STAMP_TOLERANCE)
    return KeyAge(max(credible, default=None), known_since)


def made_by(job: RekeyJob, key: MasterKey) -> bool | None:
    """Whether the latest job made the key: one no older than the job. None where the cluster does not give both times.

    Key and job are stamped by one clock, so it need not be right.
    """
    if key.key_created_time is None or job.create_time is None:
        return None
    return key.key_created_time >= job.create_time - STAMP_TOLERANCE
