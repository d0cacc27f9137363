"""Start a rekey if, and only if, one is needed. May be repeated at any point of its course."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from element_rekey.errors import (
    AnswerNotUnderstood,
    AwsCallFailed,
    ClusterUnavailable,
    ElementApiError,
    ElementRekeyError,
    LedgerConflict,
    PermissionDenied,
    RekeyOutcomeUnknown,
    RekeyRefused,
)
from element_rekey.outcomes import Outcome
from element_rekey.publishing import is_being_published
from element_rekey.records import Following, Intent, KeptResult, ProviderTest, Rotation
from element_rekey.rules.certificates import first_to_end, of_key_servers
from element_rekey.rules.changes import first_sight, open_rekey, settled_change, told, with_open_rekey
from element_rekey.rules.decisions import Conclude, Follow, Observation, ProviderCheck, Start
from element_rekey.rules.demand import demand_of
from element_rekey.rules.memory import identity_changed, is_claimed
from element_rekey.rules.plan import decide, memory_after, plan, report_dry_run, settle_lost_answer
from element_rekey.rules.preflight import key_provider_usable, provider_to_check, test_holds
from element_rekey.rules.readiness import unfit
from element_rekey.rules.verify import resolve_lost_answer, result_to_release, still_to_release
from element_rekey.rules.waiting import for_settling, for_turn, sent_too_late, until_moment
from element_rekey.rules.wording import in_spite_of, somebody_elses

from .notices import notice_of_error, notice_of_step, publish_outside
from .steps import Status, Step, carry_out, keep_following, look_at_key, take_lock, with_unfamiliar

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey.cluster import Certificate, MasterKey
    from element_rekey.ports import ElementCluster, Ports
    from element_rekey.records import ClusterMemory, Execution, Request
    from element_rekey.rules.changes import FirstSight
    from element_rekey.rules.decisions import Decision
    from element_rekey.rules.demand import Demand


def start_rekey(ports: Ports, execution: Execution, request: Request) -> Step:
    """Look at the cluster and start a rekey if, and only if, one is needed.

    Rests on ``RekeySoftwareEncryptionAtRestMasterKey`` and the calls of ``_observe``
    (https://docs.netapp.com/us-en/element-software/api/reference_element_api_rekeysoftwareencryptionatrestmasterkey.html).
    Raises the classes of ``errors``; RekeyOutcomeUnknown, ClusterUnavailable, LedgerConflict and AwsCallFailed ask for
    the step to be repeated.
    """
    try:
        return notice_of_step(ports, _start_rekey(ports, execution, request))
    except ElementRekeyError as error:
        notice_of_error(ports, execution, request, error)
        raise


def _start_rekey(ports: Ports, execution: Execution, request: Request) -> Step:
    now = ports.clock()
    demand = demand_of(request, execution.started_at)
    rotation = ports.ledger.rotation(execution) or Rotation(execution, request.cluster, request)
    if rotation.outcome:
        return Step(Status.PUBLISH, rotation)
    if request.dry_run:
        return _dry_run(ports, rotation, demand, request)
    early = until_moment(request, now)
    if early:
        return carry_out(ports, rotation, early)
    holder, rotation = take_lock(ports, rotation, now, timedelta())
    if rotation.outcome:
        return Step(Status.PUBLISH, rotation)
    if holder.owner != execution.id:
        return carry_out(ports, rotation, for_turn(rotation, holder, now, ports.settings))
    if rotation.following:  # recorded, and the answer to it got lost
        return keep_following(ports, rotation, rotation.following)
    return _start(ports, rotation, demand, request)


def _dry_run(ports: Ports, rotation: Rotation, demand: Demand, request: Request) -> Step:
    """Look, and report what a rotation would do. Neither a lock is taken nor anything remembered."""
    cluster = ports.clusters.connect(request.cluster)
    seen, rotation = _look_only(ports, cluster, rotation, request)
    while untested := _to_test(seen, plan(demand, seen)):
        rotation = _test_provider(ports, cluster, rotation, demand, seen, untested)
        seen, rotation = _look_only(ports, cluster, rotation, request)
    decision = report_dry_run(demand, seen)
    return carry_out(ports, _judged(rotation, decision, demand, seen), decision)


def _start(ports: Ports, rotation: Rotation, demand: Demand, request: Request) -> Step:
    cluster = ports.clusters.connect(request.cluster, afresh=True)  # what is looked at is what the rekey is sent to
    settling = ports.settings.settling
    if rotation.intent:
        seen = _look_for_sent_rekey(ports, cluster, request)
        kept = still_to_release(rotation, rotation.intent, seen)
        if kept:
            return _release(ports, cluster, rotation, rotation.intent, kept)
        settled = settle_lost_answer(demand, seen, rotation, settling)
        if settled:
            return carry_out(ports, _as_seen(rotation, seen), settled)
    seen, rotation, memory, decision = _look_and_decide(ports, cluster, rotation, request, demand)
    while untested := _to_test(seen, decision):
        rotation = ports.ledger.save(_test_provider(ports, cluster, rotation, demand, seen, untested))
        seen, rotation, memory, decision = _look_and_decide(ports, cluster, rotation, request, demand)
    if isinstance(decision, Start):
        return _begin(ports, cluster, rotation, seen, decision)
    rotation = _judged(rotation, decision, demand, seen)
    reports = isinstance(decision, Conclude) and decision.reported_error_of is not None
    return carry_out(ports, rotation, decision, memory if reports else None)


def _look_only(
    ports: Ports, cluster: ElementCluster, rotation: Rotation, request: Request
) -> tuple[Observation, Rotation]:
    """As ``_look``, with the other registration that the cluster belongs to; nothing is claimed."""
    seen, rotation = _look(ports, cluster, rotation, request)
    if not is_claimed(seen):
        owner = ports.ledger.owner(seen.identity.uuid) or request.cluster
        seen = replace(seen, registered_as="" if owner == request.cluster else owner)
    return seen, rotation


def _look_and_decide(
    ports: Ports, cluster: ElementCluster, rotation: Rotation, request: Request, demand: Demand
) -> tuple[Observation, Rotation, ClusterMemory | None, Decision]:
    """What is seen, the record and the memory as they are kept from now on, and what is to be done."""
    seen, rotation = _look(ports, cluster, rotation, request)
    seen = _claimed(ports, seen, demand)
    remembered = memory_after(rotation, seen, demand.accept_cluster_uuid) or seen.memory
    as_seen = rotation
    closed: Rotation | None = None
    sight = first_sight(seen, remembered)
    if sight:
        rotation, closed = _told(ports, cluster, rotation, sight)
    decision = decide(demand, seen, rotation, ports.settings.settling)
    memory = remembered
    if not _to_test(seen, decision):
        memory = with_open_rekey(remembered, decision, rotation.execution)
    if memory and rotation != as_seen:
        rotation, memory = ports.ledger.save_seen(rotation, memory, closed)
    elif memory and memory != seen.memory:
        memory = ports.ledger.remember(rotation.cluster, memory)
    return seen, publish_outside(ports, rotation), memory, decision


def _claimed(ports: Ports, seen: Observation, demand: Demand) -> Observation:
    """The look at a cluster that belongs to this registration, or with the name of the one that it belongs to.

    It is claimed at the first look, and moved here if a person wants that. Raises LedgerConflict while the registration
    it belongs to is locked.
    """
    uuid, memory = seen.identity.uuid, seen.memory
    remembered = is_claimed(seen) and demand.accept_cluster_uuid != uuid  # what a person says is worth a look
    if remembered or identity_changed(demand.cluster, uuid, memory, demand.accept_cluster_uuid):
        return seen
    owner = ports.ledger.claim(uuid, demand.cluster)
    if owner == demand.cluster:
        return seen
    if demand.accept_cluster_uuid != uuid:
        return replace(seen, registered_as=owner)
    moved = ports.ledger.move(uuid, owner, demand.cluster, memory.version if memory else 0, ports.clock())
    return replace(seen, memory=moved or memory)


def _told(
    ports: Ports, cluster: ElementCluster, rotation: Rotation, sight: FirstSight
) -> tuple[Rotation, Rotation | None]:
    """The record with what is told of a key that is seen for the first time, and the earlier one that it settles.

    Raises LedgerConflict while the earlier one is being published: whoever does that has to find it as it was.
    """
    open_execution, settling = sight.before.rekey_of, ports.settings.settling
    if open_execution is None or open_execution.is_same_as(rotation.execution):
        return told(rotation, sight, None, None)
    earlier = ports.ledger.rotation(open_execution)
    rekey = open_rekey(earlier, sight, settling) if earlier else None
    if earlier is None or earlier.request is None or rekey is None:
        return told(rotation, sight, earlier, None)
    if is_being_published(earlier, ports.clock()):
        raise LedgerConflict("The record of the open rekey is being published.", cluster=rotation.cluster)
    seen = sight.seen
    if rekey.async_handle != seen.encryption.rekey_async_result_id:
        seen = replace(seen, job=None if rekey.async_handle is None else cluster.rekey_job(rekey.async_handle))
    demand = demand_of(earlier.request, earlier.execution.started_at)
    return told(rotation, sight, earlier, settled_change(rekey, seen, demand, settling))


def _to_test(seen: Observation, decision: object) -> ProviderCheck | None:
    """The key provider that has to pass its test before the rekey may be sent that nothing else stands against."""
    return seen.provider if isinstance(decision, Start) and seen.provider and not seen.provider.tested else None


def _test_provider(
    ports: Ports, cluster: ElementCluster, rotation: Rotation, demand: Demand, seen: Observation, check: ProviderCheck
) -> Rotation:
    """Test the key provider; the rotation with the test that was passed. After it everything is looked at once more.

    It is asked last, since it can take long; what was seen before it is old then. Rests on ``TestKeyProviderKmip``
    (https://docs.netapp.com/us-en/element-software/api/reference_element_api_testkeyproviderkmip.html). Raises
    KeyProviderUnusable, and what every call may raise.
    """
    error = cluster.test_key_provider(check.key_provider_id)
    unusable = key_provider_usable(demand, replace(seen, provider=replace(check, test_error=error)))
    if unusable:
        raise unusable
    return replace(rotation, provider_test=ProviderTest(check.key_provider_id, ports.clock()))


def _judged(rotation: Rotation, decision: object, demand: Demand, seen: Observation) -> Rotation:
    """The rotation with what would have refused a rekey, where none is due and a daily run asks."""
    if isinstance(decision, Conclude) and decision.outcome is Outcome.NOT_DUE and rotation.request:
        return replace(rotation, unfit=unfit(rotation.request, demand, seen))
    return rotation


def _look(ports: Ports, cluster: ElementCluster, rotation: Rotation, request: Request) -> tuple[Observation, Rotation]:
    """What is seen, and the rotation with what its notification shows of it."""
    seen = _observe(ports, cluster, rotation, request)
    return seen, _as_seen(rotation, seen)


def _as_seen(rotation: Rotation, seen: Observation) -> Rotation:
    identity, key = seen.identity, seen.encryption.master_key
    rotation = replace(rotation, cluster_uuid=identity.uuid, cluster_name=identity.name, current_key=key)
    rotation = replace(rotation, certificates=seen.certificates or rotation.certificates)
    return with_unfamiliar(rotation, seen)


def _look_for_sent_rekey(ports: Ports, cluster: ElementCluster, request: Request) -> Observation:
    """The cluster's state and nothing else: once a rekey was sent, no other answer may stand in the way."""
    at, memory = ports.clock(), ports.ledger.memory(request.cluster)
    encryption = look_at_key(cluster)
    return Observation(at, cluster.identity(), memory, encryption, key_read_at=ports.clock())


def _observe(ports: Ports, cluster: ElementCluster, rotation: Rotation, request: Request) -> Observation:
    at = ports.clock()  # before every look: what is seen is at least as recent
    memory = ports.ledger.memory(request.cluster)  # likewise: what is remembered meanwhile is newer than our look
    cluster.check_api_version()
    version = cluster.version()
    faults = cluster.faults()
    encryption = look_at_key(cluster)
    handle = encryption.rekey_async_result_id
    job = cluster.rekey_job(handle) if handle is not None else None
    if job and job.complete:  # perhaps since the look before, which showed the key it replaced
        encryption = look_at_key(cluster)
        job = job if encryption.rekey_async_result_id == handle else None
    key_read_at = ports.clock()
    certificates = _key_server_certificates(cluster, encryption.master_key, memory)
    provider = _check_provider(cluster, rotation, request, encryption.master_key, at)
    identity = cluster.identity()  # last: what was read before it came from no other cluster
    presented = cluster.certificate()
    return Observation(
        at=at,
        identity=identity,
        memory=memory,
        encryption=encryption,
        job=job,
        version=version,
        faults=faults,
        provider=provider,
        certificates=(presented, *certificates) if presented else certificates,
        key_read_at=key_read_at,
    )


def _key_server_certificates(
    cluster: ElementCluster, key: MasterKey | None, memory: ClusterMemory | None
) -> tuple[Certificate, ...]:
    """Those of the provider in use, or as they were last seen: what is known of them stands in no rotation's way."""
    if key is None or key.key_provider_id is None:
        return ()
    try:
        return first_to_end(cluster.key_server_certificates(key.key_provider_id))
    except (AnswerNotUnderstood, ClusterUnavailable, ElementApiError, PermissionDenied):
        return of_key_servers(memory)


def _check_provider(
    cluster: ElementCluster, rotation: Rotation, request: Request, key: MasterKey | None, at: datetime
) -> ProviderCheck | None:
    provider_id = provider_to_check(request, key)
    if provider_id is None:
        return None
    provider = next((one for one in cluster.key_providers() if one.key_provider_id == provider_id), None)
    return ProviderCheck(provider_id, provider, tested=test_holds(rotation.provider_test, provider_id, at))


def _begin(ports: Ports, cluster: ElementCluster, rotation: Rotation, seen: Observation, start: Start) -> Step:
    """Write the intent, then send the rekey; the one place that changes a cluster."""
    previous, now = rotation.intent, ports.clock()
    intent = Intent(
        cluster_uuid=seen.identity.uuid,
        baseline_key=start.baseline_key,
        baseline_async_result_id=seen.encryption.rekey_async_result_id,
        sent_at=now,
        attempts=(previous.attempts if previous else 0) + 1,
    )
    detail = f"Replacing key {start.baseline_key.key_id}{in_spite_of(start.warnings)}."
    rotation = ports.ledger.save_intent(replace(rotation, intent=intent, detail=detail), now)
    try:
        if sent_too_late(intent, ports.clock()):
            what = "It took too long to write the rekey down, so it was not sent."
            raise AwsCallFailed(what, cluster=rotation.cluster)
        handle = cluster.rekey(start.key_management_type, start.key_provider_id)
    except RekeyOutcomeUnknown:
        raise
    except RekeyRefused as refused:
        looked = replace(seen, encryption=look_at_key(cluster))
        found = resolve_lost_answer(intent, looked, ports.settings.settling, rotation.cluster)
        if isinstance(found, Follow):  # somebody else's rekey came in between, and ours was refused for it
            theirs = replace(found.following, ours=False, presumed_ours=False)
            return carry_out(ports, rotation, Follow(theirs, somebody_elses(theirs)))
        job = result_to_release(intent, looked, rotation)
        if job:
            kept = KeptResult(job, refused_at=ports.clock(), refused_with=refused.what)
            rotation = ports.ledger.save(replace(rotation, kept_result=kept))  # held here before it is released there
            return _release(ports, cluster, rotation, intent, kept)
        ports.ledger.save(replace(rotation, intent=None if rotation.kept_result else previous))
        raise
    except ElementRekeyError:  # every other class: certainly not applied
        ports.ledger.save(replace(rotation, intent=previous))
        raise
    ours = Following(handle, ours=True, since=now, baseline_key=start.baseline_key)
    return carry_out(ports, rotation, Follow(ours))


def _release(ports: Ports, cluster: ElementCluster, rotation: Rotation, intent: Intent, kept: KeptResult) -> Step:
    """Release a result that this record holds, and start again once the refused rekey can certainly not begin any more.

    The intent stays: what becomes of a rekey that was refused for a reason nobody knows is settled by looking
    (docs/adr/0009), and the next one is the last.
    """
    cluster.release_result(kept.job.async_handle)
    now = ports.clock()
    wait = for_settling(intent, kept, now, ports.settings)
    released = replace(rotation, kept_result=replace(kept, released_at=now), detail=wait.detail)
    return carry_out(ports, ports.ledger.save(released), wait)
