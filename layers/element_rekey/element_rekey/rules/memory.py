"""What is remembered of a cluster, and what that says: which cluster it is, and how old its key is (docs/adr/0002)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from element_rekey.errors import ClusterIdentityChanged
from element_rekey.records import ClusterMemory

from .demand import CLOCK_TOLERANCE

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey.cluster import MasterKey, RekeyJob

    from .decisions import Observation

STAMP_TOLERANCE = timedelta(seconds=2)
"""How far two times of one cluster may be off: each is in whole seconds, and set right by its own answer's ``Date``."""


def identity_changed(
    cluster: str, uuid: str, memory: ClusterMemory | None, accepted: str = ""
) -> ClusterIdentityChanged | None:
    """The error of a cluster that is not the one remembered, nor the one a person accepted in its place."""
    if memory is None or uuid in (memory.uuid, accepted):
        return None
    what = f"The address answers as cluster {uuid}; remembered is {memory.uuid}."
    return ClusterIdentityChanged(what, cluster=cluster)


def updated_memory(memory: ClusterMemory | None, uuid: str, key: MasterKey, now: datetime | None) -> ClusterMemory:
    """What is remembered of a cluster after seeing ``key`` on it.

    ``now`` is None while a rekey runs: the next key may have been made already, so this sight says nothing of its age.
    """
    if memory is None or memory.uuid != uuid:
        return ClusterMemory(uuid, key.key_id, key_seen_at=now)
    seen_at = now or memory.key_seen_at
    if memory.key_id == key.key_id:
        return replace(memory, key_seen_at=seen_at)
    return replace(memory, key_id=key.key_id, key_made_after=memory.key_seen_at, key_seen_at=seen_at)


def made_at(key: MasterKey, seen: Observation) -> datetime | None:
    """When the key was made, as well as anybody can say; None where nobody can.

    The cluster's time counts unless it lies in our future. The last sight of the key before it, and the begin of its
    job where the cluster still shows it, are lower bounds: a late cluster clock makes no new key look old.
    """
    witnesses = [key.key_created_time] if key.key_created_time else []
    memory = updated_memory(seen.memory, seen.identity.uuid, key, seen.at)
    if memory.key_made_after:
        witnesses.append(memory.key_made_after)
    if seen.job and seen.job.create_time and seen.job.new_key and seen.job.new_key.key_id == key.key_id:
        witnesses.append(seen.job.create_time)
    return max((made for made in witnesses if made <= seen.at + CLOCK_TOLERANCE), default=None)


def made_by(job: RekeyJob, key: MasterKey) -> bool | None:
    """Whether the latest job made the key: one no older than the job. None where the cluster does not give both times.

    Key and job are stamped by one clock, so it need not be right.
    """
    if key.key_created_time is None or job.create_time is None:
        return None
    return key.key_created_time >= job.create_time - STAMP_TOLERANCE
