"""Look at the rekey that is followed, and verify it once it is over. May be repeated at any point of its course."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from element_rekey.errors import LedgerConflict
from element_rekey.rules.decisions import Conclude, Observation
from element_rekey.rules.demand import demand_of
from element_rekey.rules.memory import updated_memory
from element_rekey.rules.verify import decide_after_check, other_cluster_answers
from element_rekey.rules.waiting import for_rekey

from .steps import Status, Step, carry_out, look_at_key, take_lock, with_unfamiliar

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey.ports import Ports
    from element_rekey.records import Execution, Following, Rotation


def check_status(ports: Ports, execution: Execution) -> Step:
    """Look at the followed rekey and, once it is over, verify it against the cluster's own state.

    Rests on ``GetAsyncResult`` (kept), ``GetSoftwareEncryptionAtRestInfo`` and ``GetClusterInfo``
    (https://docs.netapp.com/us-en/element-software/api/reference_element_api_getasyncresult.html). Raises the classes
    of ``errors``; the step can be repeated after any of them.
    """
    now = ports.clock()
    rotation = ports.ledger.rotation(execution)
    if rotation is None or rotation.request is None:
        raise LedgerConflict("There is no record of what this execution follows.")
    demand = demand_of(rotation.request, execution.started_at)
    if rotation.following and not rotation.outcome:
        # Whoever took the lock over looks at the cluster first, so a lease that was lost is no reason to stop looking.
        wait = timedelta(seconds=for_rekey(rotation, rotation.following, now, ports.settings))
        _, rotation = take_lock(ports, rotation, now, wait)
    if rotation.outcome:
        return Step(Status.PUBLISH, rotation)
    following = rotation.following
    if following is None:  # recorded, and the answer to it got lost
        return Step(Status.START_AGAIN, rotation)
    seen = _observe(ports, rotation, following, now)
    other = other_cluster_answers(rotation, seen.identity)
    if other:
        raise other
    key, memory = seen.encryption.master_key, None
    rotation = replace(rotation, polls=rotation.polls + 1, current_key=key or rotation.current_key, failure=None)
    rotation = with_unfamiliar(rotation, seen)
    decision = decide_after_check(rotation, following, seen, demand, ports.settings)
    if key and isinstance(decision, Conclude):
        memory = updated_memory(seen, key, rekey_runs=False)
    return carry_out(ports, rotation, decision, memory)


def _observe(ports: Ports, rotation: Rotation, following: Following, at: datetime) -> Observation:
    memory = ports.ledger.memory(rotation.cluster)  # before the look: what is remembered meanwhile is newer than it
    cluster = ports.clusters.connect(rotation.cluster)
    job = cluster.rekey_job(following.async_handle) if following.async_handle is not None else None
    encryption = cluster.encryption() if following.async_handle == 0 else look_at_key(cluster)
    key_read_at = ports.clock()
    identity = cluster.identity()  # last: what was read before it came from no other cluster
    return Observation(at, identity, memory, encryption, job, key_read_at=key_read_at)
