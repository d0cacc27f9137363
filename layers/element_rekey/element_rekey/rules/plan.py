"""What an execution does about its demand, decided from what is asked and what is seen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from element_rekey.errors import (
    AnswerNotUnderstood,
    EncryptionDisabled,
    KeyAgeUnknown,
    RekeyOutcomeUnknown,
    RotationUndone,
)
from element_rekey.outcomes import Outcome
from element_rekey.records import Following

from .decisions import (
    AnswerStillUnknown,
    Conclude,
    CoolingDown,
    Fail,
    Follow,
    Refuse,
    Satisfied,
    SatisfiedWithError,
    Start,
    Wait,
)
from .memory import age_of, identity_changed, made_by, registered_twice, updated_memory
from .preflight import preflight
from .verify import conclude_with_error, error_of_change, key_made_with_error, resolve_lost_answer
from .waiting import for_cool_down
from .wording import at_time, in_spite_of, key_replaced, quoted, somebody_elses

if TYPE_CHECKING:
    from datetime import timedelta

    from element_rekey.cluster import EncryptionState, MasterKey
    from element_rekey.errors import ClusterIdentityChanged, ClusterRegisteredTwice, RekeyEndedWithError
    from element_rekey.records import ClusterMemory, KeyChange, Rotation

    from .decisions import Observation
    from .demand import Demand
    from .memory import KeyAge


def decide(
    demand: Demand, seen: Observation, rotation: Rotation, settling: timedelta
) -> Start | Follow | Wait | Conclude | Refuse | Fail:
    """What a rotation does after a look at its cluster; a rekey that may have been sent comes before the plan."""
    settled = settle_lost_answer(demand, seen, rotation, settling)
    if settled:
        return settled
    planned = plan(demand, seen, rotation.disregarded_handle)
    match planned:
        case Start() if rotation.change and rotation.change.ours:
            return Fail(rotation_undone(demand, rotation.change, planned.baseline_key))
        case Start() | Follow() | Refuse():
            return planned
        case Satisfied():
            return conclude_satisfied(rotation, seen, planned)
        case SatisfiedWithError():
            return conclude_with_error(rotation.detail, rotation.change, planned.error, seen)
        case CoolingDown():
            return for_cool_down(planned.until, seen.at)
        case _:
            assert_never(planned)


def settle_lost_answer(
    demand: Demand, seen: Observation, rotation: Rotation, settling: timedelta
) -> Follow | Refuse | None:
    """What a rekey that may have been sent has left on the cluster; None: there was none, so plan.

    Its own state is enough for that. What else the cluster says matters to those only who are about to send a rekey.
    """
    if rotation.intent is None:
        return None
    lost = resolve_lost_answer(rotation.intent, seen, settling, demand.cluster)
    if isinstance(lost, AnswerStillUnknown):
        what = "A rekey was sent, its answer was lost, and the cluster does not show yet what became of it."
        return Refuse(RekeyOutcomeUnknown(what, cluster=demand.cluster))
    return lost


def report_dry_run(demand: Demand, seen: Observation) -> Conclude | Refuse:
    """What a dry run says it would do."""
    planned = plan(demand, seen)
    match planned:
        case Start():
            return Conclude(Outcome.PLANNED, f"Would replace the current key{in_spite_of(planned.warnings)}.")
        case Follow():
            detail = f"Would follow rekey {planned.following.async_handle}, which is running already."
            return Conclude(Outcome.PLANNED, detail)
        case Satisfied():
            return Conclude(Outcome.NOT_DUE, f"The current key was made at {at_time(planned.made)}.")
        case SatisfiedWithError():
            return Conclude(Outcome.NOT_DUE, f"The current key is recent enough, but: {planned.error.what}")
        case CoolingDown():
            return Conclude(Outcome.COOLING_DOWN, f"Would not rotate before {at_time(planned.until)}.")
        case Refuse():
            return planned
        case _:
            assert_never(planned)


def plan(
    demand: Demand, seen: Observation, disregarded_handle: int | None = None
) -> Start | Follow | Satisfied | SatisfiedWithError | CoolingDown | Refuse:
    """Compare the demand with what is seen now.

    ``disregarded_handle`` is a rekey result the cluster lists but never shows; it is not followed again.
    """
    other = not_this_registrations(demand.cluster, seen, demand.accept_cluster_uuid)
    if other:
        return Refuse(other)
    key = seen.encryption.master_key
    if seen.encryption.enabled is False:
        return Refuse(EncryptionDisabled("Software encryption at rest is not enabled.", cluster=demand.cluster))
    unclear = _unclear(demand, seen.encryption)
    if unclear or key is None:
        what = f"The cluster does not say {unclear or 'which master key it has'}{quoted(seen.encryption.unfamiliar)}."
        return Refuse(AnswerNotUnderstood(what, cluster=demand.cluster))
    if rekey_runs(seen, disregarded_handle):
        handle = seen.encryption.rekey_async_result_id
        following = Following(handle, ours=False, since=seen.at, baseline_key=key)
        return Follow(following, somebody_elses(following))
    return _weigh_age(demand, seen, key) or preflight(demand, seen, key)


def _unclear(demand: Demand, encryption: EncryptionState) -> str:
    """What has to be known before a rekey is sent, and cannot be read; empty where all can."""
    if encryption.enabled is None:
        return "whether software encryption at rest is enabled"
    if encryption.handle_unclear:
        return "whether a rekey runs"
    key = encryption.master_key
    return "how its master key is managed" if key and demand.of_kind(key) is None else ""


def rekey_runs(seen: Observation, disregarded_handle: int | None = None) -> bool:
    """Whether the cluster lists a rekey that is not over."""
    handle = seen.encryption.rekey_async_result_id
    if seen.encryption.handle_unclear:
        return True
    return handle not in (None, disregarded_handle) and (seen.job is None or not seen.job.complete)


def not_this_registrations(
    cluster: str, seen: Observation, accepted_uuid: str
) -> ClusterIdentityChanged | ClusterRegisteredTwice | None:
    """Why a cluster is not the one of the registration it was looked at by; None where it is."""
    changed = identity_changed(cluster, seen.identity.uuid, seen.memory, accepted_uuid)
    return changed or registered_twice(cluster, seen, accepted_uuid)


def memory_after(rotation: Rotation, seen: Observation, accepted_uuid: str) -> ClusterMemory | None:
    """What is to be remembered of a look, whatever is decided by it; None where that says nothing, or nothing new."""
    key = seen.encryption.master_key
    if key is None or not_this_registrations(rotation.cluster, seen, accepted_uuid):
        return None
    runs = rotation.intent is not None or rekey_runs(seen, rotation.disregarded_handle)
    memory = replace(updated_memory(seen, key, rekey_runs=runs), claimed=True)
    return memory if memory != seen.memory else None


def _weigh_age(
    demand: Demand, seen: Observation, key: MasterKey
) -> Satisfied | SatisfiedWithError | CoolingDown | Refuse | None:
    """Whether the key's age alone decides; None: it has to be replaced."""
    age = age_of(key, seen)
    if not demand.of_kind(key):  # an alarm that flaps must not move keys to and fro either
        return _cooling_down(demand, seen, age) if demand.urgent else None
    if age.made and age.made > demand.made_after:
        error = _unreported_error(demand, seen, key)
        return SatisfiedWithError(error) if error else Satisfied(age.made)
    if age.made is None and demand.needs_age and age.known_since > demand.made_after:
        return Refuse(KeyAgeUnknown(f"Key {key.key_id} has no usable creation time.", cluster=demand.cluster))
    return _cooling_down(demand, seen, age)


def _cooling_down(demand: Demand, seen: Observation, age: KeyAge) -> CoolingDown | None:
    """Whether the key is too new to be replaced again; one of unknown age is not."""
    until = age.made + demand.cool_down if age.made else seen.at
    return CoolingDown(until) if seen.at < until else None


def _unreported_error(demand: Demand, seen: Observation, key: MasterKey) -> RekeyEndedWithError | None:
    """The error of the rekey that made the current key, where it was not published yet."""
    job = seen.job
    reported = seen.memory.reported_error_of if seen.memory and seen.memory.uuid == seen.identity.uuid else None
    if job is None or job.error is None or reported == job.async_handle:
        return None
    return key_made_with_error(demand.cluster, key, job.error) if made_by(job, key) else None


def rotation_undone(demand: Demand, change: KeyChange, key: MasterKey) -> RotationUndone:
    """One demand, one rekey: if somebody else replaced its key since, that is published, not answered by a second."""
    what = f"{key_replaced(change)} Another rekey came after it, and its key {key.key_id} is not as asked."
    return RotationUndone(what, cluster=demand.cluster)


def conclude_satisfied(rotation: Rotation, seen: Observation, satisfied: Satisfied) -> Conclude:
    """The current key meets the demand: by our rekey, by somebody else's that we followed, or as it was before."""
    made, change, key = at_time(satisfied.made), rotation.change, seen.encryption.master_key
    theirs = next((one for one in rotation.settled or () if key and one.change.new_key.key_id == key.key_id), None)
    if change and change.ours:
        detail = f"{key_replaced(change)} Another rekey came after it and made the current key at {made}."
        return Conclude(Outcome.ROTATED, detail, change)
    if change and key and change.new_key.key_id == key.key_id:
        error = error_of_change(rotation.cluster, change)
        if error:
            return conclude_with_error(rotation.detail, change, error, seen)
        whose = f"The rekey of execution {theirs.execution.id}" if theirs else "Somebody else's rekey"
        return Conclude(Outcome.FOLLOWED, f"{whose} made the current key at {made}.", change)
    if theirs:
        detail = f"The rekey of execution {theirs.execution.id} made the current key at {made}; that is settled now."
        return Conclude(Outcome.NOT_DUE, detail)
    return Conclude(Outcome.NOT_DUE, f"The current key was made at {made}, which is recent enough.")
