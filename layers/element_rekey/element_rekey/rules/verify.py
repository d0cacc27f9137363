"""What became of a rekey. The cluster's state decides; the handle alone never does (docs/adr/0007)."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from element_rekey.cluster import KeyManagementType
from element_rekey.errors import (
    ClusterIdentityChanged,
    RekeyEndedWithError,
    RekeyFailed,
    RekeyOutcomeUnknown,
    RotationNotProven,
    failure_from,
)
from element_rekey.outcomes import Outcome
from element_rekey.records import ClusterMemory, Following, KeyChange

from .decisions import (
    AnswerStillUnknown,
    Conclude,
    Fail,
    Follow,
    KeyChanged,
    Refuse,
    StartAgain,
    StillRunning,
    Superseded,
)
from .memory import identity_changed, made_by
from .waiting import keep_waiting
from .wording import error_text, key_replaced

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from element_rekey.cluster import ClusterIdentity, ElementError, MasterKey, RekeyJob
    from element_rekey.records import Intent, Rotation
    from element_rekey.settings import Settings

    from .decisions import Observation
    from .demand import Demand

ATTEMPTS = 2  # how often one execution may send a rekey, and the second time only onto an unchanged cluster


def resolve_lost_answer(
    intent: Intent, seen: Observation, settling: timedelta, cluster: str
) -> Follow | AnswerStillUnknown | Refuse | None:
    """Decide what became of a rekey that may have been sent; None: nothing, so plan anew.

    Without a trace after ``settling`` the rekey was not applied; after the last attempt nobody tries again, and only
    further looks can resolve it.
    """
    changed = identity_changed(cluster, seen.identity.uuid, ClusterMemory(intent.cluster_uuid))
    if changed:
        return Refuse(changed)
    handle = seen.encryption.rekey_async_result_id
    if handle not in (None, intent.baseline_async_result_id):
        return _follow_presumed(intent, handle)
    key = seen.encryption.master_key
    if key is not None and key.key_id != intent.baseline_key.key_id:
        return _follow_presumed(intent, None)
    if seen.at < intent.sent_at + settling or intent.attempts >= ATTEMPTS:
        return AnswerStillUnknown()
    return None


def _follow_presumed(intent: Intent, handle: int | None) -> Follow:
    baseline = intent.baseline_key
    return Follow(Following(handle, ours=True, since=intent.sent_at, baseline_key=baseline, presumed_ours=True))


def decide_after_check(
    rotation: Rotation, following: Following, seen: Observation, demand: Demand, settings: Settings
) -> Follow | StartAgain | Conclude | Fail:
    """What a rotation does after a look at the rekey it follows."""
    verified = verify(following, seen, demand, settings.settling)
    match verified:
        case StillRunning():
            phase = seen.job.phase if seen.job else ""
            waits = keep_waiting(rotation, following, verified, phase, seen.at, settings)
            overdue = isinstance(waits, Follow) and waits.overdue and not verified.shown
            change = change_by_state(following, seen) if overdue else None
            return _conclude_change(rotation, following, seen, change) if change else waits
        case KeyChanged():
            return _conclude_change(rotation, following, seen, verified.change)
        case Superseded():
            return StartAgain(verified.why, verified.change or rotation.change)
        case Fail():
            return verified
        case _:
            assert_never(verified)


def _conclude_change(
    rotation: Rotation, following: Following, seen: Observation, change: KeyChange
) -> StartAgain | Conclude:
    """A key made by our rekey is the outcome; whether one that somebody else made meets the demand is to be planned."""
    if not change.ours:
        kept = rotation.change if rotation.change and rotation.change.ours else change
        why = f"Somebody else's rekey made key {change.new_key.key_id}."
        return StartAgain(why, kept, disregarded_handle=following.async_handle)  # it is over, whoever looks again
    presumed = " The answer to our rekey was lost; this one is taken for it." if following.presumed_ours else ""
    gone = seen.job is None and not _may_run(following, seen)
    why = "was read away" if gone else "could not be read"
    proof = "" if change.job_result_read else f" Its result {why}; the cluster's own state shows the change."
    detail = f"{key_replaced(change)}{presumed}{proof}"
    error = error_of_change(rotation.cluster, change)
    return conclude_with_error(detail, change, error, seen) if error else Conclude(Outcome.ROTATED, detail, change)


def conclude_with_error(
    detail: str, change: KeyChange | None, error: RekeyEndedWithError, seen: Observation
) -> Conclude:
    """The rekey that made the current key ended with an error; that is published once, and then never again."""
    handle = seen.encryption.rekey_async_result_id
    return Conclude(Outcome.ROTATED_WITH_ERROR, detail, change, failure_from(error), reported_error_of=handle)


def verify(
    following: Following, seen: Observation, demand: Demand, settling: timedelta
) -> StillRunning | KeyChanged | Superseded | Fail:
    """Decide what became of a followed rekey, if it is over.

    A rekey that is only presumed ours is not verified before ``settling`` after ours was sent: until then ours may
    still come after it.
    """
    key, job = seen.encryption.master_key, seen.job
    running = job is not None and job.understood and not job.complete
    if key is None and not running:
        return Fail(RotationNotProven("The cluster no longer names a master key.", cluster=demand.cluster))
    if following.presumed_ours and seen.at < following.since + settling:
        return StillRunning()
    superseded = seen.encryption.rekey_async_result_id not in (None, following.async_handle)
    if following.presumed_ours and superseded:
        what = "Another rekey came after the one that was taken for ours."
        return Fail(RekeyOutcomeUnknown(what, cluster=demand.cluster))
    if key is None or running:
        return StillRunning()
    if job is None or not job.understood:
        return _verify_by_state(following, key, seen, demand, settling)
    if job.error:
        return _verify_failed(following, key, seen, job, job.error, demand, superseded=superseded)
    return _verify_completed(following, key, seen, job, demand, superseded=superseded)


def _verify_completed(
    following: Following, key: MasterKey, seen: Observation, job: RekeyJob, demand: Demand, *, superseded: bool
) -> KeyChanged | Superseded | Fail:
    """The job says it completed; where the state shows something else, another rekey came, or it is not proven."""
    contradictions = list(_contradictions(following, job, key, demand, superseded=superseded))
    if not contradictions:
        if job.new_key is None and key.key_id == following.baseline_key.key_id:
            return Superseded("The rekey that was followed is over, and its result does not say what it did.")
        return KeyChanged(_change(following, key, seen.at, job))
    change = _superseded_change(following, seen.at, job)
    if superseded and (change or not following.ours):
        return Superseded("Another rekey came after the one that was followed.", change)
    what = f"The rekey completed, but {'; '.join(contradictions)}."
    return Fail(RotationNotProven(what, cluster=demand.cluster))


def _verify_by_state(
    following: Following, key: MasterKey, seen: Observation, demand: Demand, settling: timedelta
) -> StillRunning | KeyChanged | Superseded | Fail:
    """The handle is unknown to the cluster, or its answer says nothing: not visible yet, or read away by somebody."""
    if _may_run(following, seen):
        return StillRunning(shown=False)
    if key.key_id != following.baseline_key.key_id:
        return KeyChanged(_change(following, key, seen.at, None))
    if seen.at < following.since + settling:
        return StillRunning(shown=False)
    why = "The rekey's result is gone and the old key is still current: it failed, or goes on unseen."
    return Fail(RekeyOutcomeUnknown(why, cluster=demand.cluster)) if following.ours else Superseded(why)


def _may_run(following: Following, seen: Observation) -> bool:
    """Whether the rekey is listed as the latest, or may be."""
    if following.async_handle is None:
        return False
    return seen.encryption.handle_unclear or seen.encryption.rekey_async_result_id == following.async_handle


def change_by_state(following: Following, seen: Observation) -> KeyChange | None:
    """The change that the keys alone show, for a rekey of which nothing was shown until the deadline."""
    key = seen.encryption.master_key
    if key is None or key.key_id == following.baseline_key.key_id:
        return None
    return _change(following, key, seen.at, None)


def _verify_failed(  # noqa: PLR0913 - what is seen, and what it is compared with
    following: Following,
    key: MasterKey,
    seen: Observation,
    job: RekeyJob,
    error: ElementError,
    demand: Demand,
    *,
    superseded: bool,
) -> KeyChanged | Superseded | Fail:
    """The job ended with an error; the state shows whether that was before the keys changed, or after."""
    cluster = demand.cluster
    why = f"The rekey{' taken for ours' if following.presumed_ours else ''} ended with {error_text(error)}"
    if superseded:
        unknown = RekeyOutcomeUnknown(f"{why}, and another rekey came after it.", cluster=cluster)
        return Fail(unknown) if following.ours else Superseded(why)
    if key.key_id == following.baseline_key.key_id:
        failed = RekeyFailed(f"{why}{_left_over(demand, key)}", cluster=cluster)
        return Fail(failed) if following.ours else Superseded(why)
    if following.ours and made_by(job, key) is False:
        what = f"{why}, and the current key {key.key_id} was made before it."
        return Fail(RekeyOutcomeUnknown(what, cluster=cluster))
    return KeyChanged(_change(following, key, seen.at, job))


def _left_over(demand: Demand, key: MasterKey) -> str:
    """What a rekey that failed may leave behind: the second phase of an external one has made a key on the server."""
    kind, provider = demand.key_management_type, demand.key_provider_id
    if kind is None:
        kind, provider = key.key_management_type, key.key_provider_id
    if kind is not KeyManagementType.EXTERNAL:
        return ""
    return f" The key server of provider {provider} may hold a key that was made for this and is not in use."


def _contradictions(
    following: Following, job: RekeyJob, key: MasterKey, demand: Demand, *, superseded: bool
) -> Iterable[str]:
    """Everything that speaks against a completed rekey being what the cluster's state shows.

    What its result does not say, or not in a form we can read, speaks neither for it nor against it.
    """
    if job.new_key is None and superseded:
        yield "its result does not name the key it made, and another rekey is listed"
    if job.new_key and job.new_key.key_id != key.key_id:
        yield f"it made key {job.new_key.key_id} and current is {key.key_id}"
    if not following.ours:
        return  # followed from somewhere in its middle: the baseline may be either key
    if key.key_id == following.baseline_key.key_id:
        yield f"key {key.key_id} was current before it, too"
    if job.key_to_decommission and job.key_to_decommission.key_id != following.baseline_key.key_id:
        yield f"it retires {job.key_to_decommission.key_id} and not {following.baseline_key.key_id}"
    if demand.of_kind(key) is False:
        yield f"the key's management is {key.key_management_type}, provider {key.key_provider_id}, not as asked"


def _superseded_change(following: Following, now: datetime, job: RekeyJob) -> KeyChange | None:
    """What a rekey of ours did before another one replaced its key in turn."""
    retired = job.key_to_decommission
    if not (following.ours and job.new_key and retired and retired.key_id == following.baseline_key.key_id):
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
        ours=following.ours,
        finished_at=finished,
        detected_at=now,
        job_result_read=job is not None and (job.error is not None or job.new_key is not None),
        key_to_decommission=retired,
        job_error=job.error if job else None,
        job_seconds=max(0, round((finished - begun).total_seconds())),
    )


def other_cluster_answers(rotation: Rotation, identity: ClusterIdentity) -> ClusterIdentityChanged | None:
    """The error of an address at which another cluster answers than the one whose rekey is followed."""
    if identity.uuid == rotation.cluster_uuid:
        return None
    what = f"The address answers as cluster {identity.uuid}; the rekey runs on {rotation.cluster_uuid}."
    return ClusterIdentityChanged(what, cluster=rotation.cluster)


def error_of_change(cluster: str, change: KeyChange) -> RekeyEndedWithError | None:
    """The error of a change whose job did not end well, None where it did."""
    return key_made_with_error(cluster, change.new_key, change.job_error) if change.job_error else None


def key_made_with_error(cluster: str, key: MasterKey, error: ElementError) -> RekeyEndedWithError:
    """The error of a current key whose rekey did not end well."""
    what = f"Key {key.key_id} is current, but the rekey that made it ended with {error_text(error)}"
    return RekeyEndedWithError(what, cluster=cluster)
