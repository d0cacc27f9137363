from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from element_rekey.cluster import (
    ClusterFault,
    ElementError,
    EncryptionState,
    KeyManagementType,
    KeyProvider,
    MasterKey,
    RekeyJob,
)
from element_rekey.errors import (
    ClusterFaultsBlock,
    ClusterIdentityChanged,
    ElementRekeyError,
    EncryptionDisabled,
    KeyAgeUnknown,
    KeyProviderUnusable,
    RekeyFailed,
    RekeyOutcomeUnknown,
    RequestInvalid,
    RotationNotProven,
    UpgradePending,
)
from element_rekey.outcomes import Trigger
from element_rekey.records import ClusterMemory, Request
from element_rekey.rules.decisions import (
    AnswerStillUnknown,
    CoolingDown,
    Fail,
    Follow,
    KeyChanged,
    Observation,
    ProviderCheck,
    Refuse,
    Satisfied,
    SatisfiedWithError,
    Start,
    StillRunning,
    Superseded,
)
from element_rekey.rules.demand import CLOCK_TOLERANCE, Demand, demand_of
from element_rekey.rules.memory import made_at, updated_memory
from element_rekey.rules.plan import plan
from element_rekey.rules.preflight import FAULTS_BLOCKING_ALWAYS, FAULTS_BLOCKING_EXTERNAL, FAULTS_BLOCKING_ROUTINE
from element_rekey.rules.verify import ATTEMPTS, StatusSeen, error_of_change, resolve_lost_answer, verify
from element_rekey.rules.waiting import next_wait
from tests.fakes import NOW
from tests.unit.samples import (
    DAY,
    HOUR,
    MINUTE,
    UUID,
    change,
    demand,
    done,
    external,
    following,
    intent,
    key,
    running,
    seen,
)

SECOND = timedelta(seconds=1)
SETTLING = timedelta(minutes=2)
BROKEN = ElementError("xAssumed", "Out of entropy.")
YOUNG = key("key-1", NOW - DAY)
OLD = key("key-0", NOW - 400 * DAY)


def refused(verdict: object) -> ElementRekeyError:
    assert isinstance(verdict, Refuse | Fail)
    return verdict.error


# --- demand ---


def test_by_hand_the_key_has_to_be_made_after_the_execution_began() -> None:
    asked = demand_of(Request("prod-a"), NOW)
    assert asked.made_after == NOW
    assert not asked.needs_age
    assert not asked.urgent
    assert asked.cool_down == timedelta()


def test_a_schedule_demands_a_key_of_an_age_and_so_needs_to_know_it() -> None:
    asked = demand_of(Request("prod-a", trigger=Trigger.SCHEDULE, key_created_after=NOW - 90 * DAY), NOW)
    assert asked.made_after == NOW - 90 * DAY
    assert asked.needs_age
    assert not asked.urgent


def test_an_alarm_is_urgent_and_keeps_its_cool_down() -> None:
    request = Request("prod-a", trigger=Trigger.ALARM, key_created_after=NOW - HOUR, cool_down_seconds=3600)
    asked = demand_of(request, NOW)
    assert (asked.made_after, asked.urgent, asked.cool_down) == (NOW - HOUR, True, HOUR)


def test_force_overrides_the_cool_down_and_an_unknown_age() -> None:
    request = Request("prod-a", force=True, reason="audit", key_created_after=NOW - DAY, cool_down_seconds=3600)
    asked = demand_of(request, NOW)
    assert asked.cool_down == timedelta()
    assert not asked.needs_age


def test_the_rest_of_a_request_reaches_the_demand() -> None:
    request = Request(
        "prod-a",
        key_management_type=KeyManagementType.EXTERNAL,
        key_provider_id=15,
        ignore_faults=("nodeOffline",),
        accept_cluster_uuid="new",
    )
    asked = demand_of(request, NOW)
    assert (asked.key_management_type, asked.key_provider_id) == (KeyManagementType.EXTERNAL, 15)
    assert asked.ignore_faults == {"nodeOffline"}
    assert asked.accept_cluster_uuid == "new"


@pytest.mark.parametrize("trigger", list(Trigger))
def test_a_key_from_the_future_cannot_be_demanded(trigger: Trigger) -> None:
    request = Request("prod-a", trigger=trigger, key_created_after=NOW + CLOCK_TOLERANCE + timedelta(milliseconds=1))
    with pytest.raises(RequestInvalid, match="keyCreatedAfter: expected a time that is not in the future") as caught:
        demand_of(request, NOW)
    assert caught.value.cluster == "prod-a"


def test_a_key_made_when_another_clock_is_a_little_ahead_can_be_demanded() -> None:
    assert CLOCK_TOLERANCE == 5 * MINUTE
    request = Request("prod-a", key_created_after=NOW + CLOCK_TOLERANCE)
    assert demand_of(request, NOW).made_after == NOW + CLOCK_TOLERANCE


@pytest.mark.parametrize(
    ("kind", "provider", "current", "fits"),
    [
        (None, None, OLD, True),
        (None, None, external(), True),
        (KeyManagementType.INTERNAL, None, OLD, True),
        (KeyManagementType.INTERNAL, None, external(), False),
        (KeyManagementType.EXTERNAL, 15, external(provider=15), True),
        (KeyManagementType.EXTERNAL, 15, external(provider=16), False),
        (KeyManagementType.EXTERNAL, 15, OLD, False),
    ],
)
def test_a_key_is_of_the_kind_asked_for_by_type_and_provider(
    kind: KeyManagementType | None, provider: int | None, current: MasterKey, *, fits: bool
) -> None:
    assert demand(key_management_type=kind, key_provider_id=provider).of_kind(current) is fits


# --- plan ---

LONG_DONE = replace(done(OLD, key("key-x")), create_time=NOW - 400 * DAY)

PLANS: list[tuple[str, Demand, Observation, object]] = [
    ("old key", demand(), seen(OLD), Start(OLD, None, None)),
    ("young key", demand(), seen(YOUNG), Satisfied(NOW - DAY)),
    ("exactly as old as demanded is too old", demand(made_after=NOW - DAY), seen(YOUNG), Start(YOUNG, None, None)),
    (
        "a kind that is not asked for is replaced however young",
        demand(key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15),
        seen(YOUNG),
        Start(YOUNG, KeyManagementType.EXTERNAL, 15),
    ),
    ("a running job is followed", demand(), seen(OLD, handle=7, job=running()), "follow"),
    ("a running job is followed though the key is young", demand(), seen(YOUNG, handle=7, job=running()), "follow"),
    ("an unreadable job is followed", demand(), seen(OLD, handle=7), "follow"),
    ("a finished job is not", demand(), seen(OLD, handle=7, job=LONG_DONE), Start(OLD, None, None)),
    ("an unknown age counts as old by hand", demand(needs_age=False), seen(key(made=None)), "start"),
    ("cooling down", demand(made_after=NOW, cool_down=2 * DAY), seen(YOUNG), CoolingDown(NOW + DAY)),
    ("cooled down", demand(made_after=NOW, cool_down=DAY), seen(YOUNG), Start(YOUNG, None, None)),
    ("met goes before cooling down", demand(cool_down=2 * DAY), seen(YOUNG), Satisfied(NOW - DAY)),
    ("a remembered cluster", demand(), seen(OLD, memory=ClusterMemory(UUID)), Start(OLD, None, None)),
    (
        "a replaced cluster that a person accepted",
        demand(accept_cluster_uuid=UUID),
        seen(OLD, memory=ClusterMemory("another")),
        Start(OLD, None, None),
    ),
]


@pytest.mark.parametrize(("asked", "state", "expected"), [case[1:] for case in PLANS], ids=[case[0] for case in PLANS])
def test_plan(asked: Demand, state: Observation, expected: object) -> None:
    decision = plan(asked, state)
    if expected == "follow":
        assert isinstance(decision, Follow)
        assert (decision.following.async_handle, decision.following.ours) == (7, False)
        assert decision.following.since == NOW
        assert decision.following.baseline_key == state.encryption.master_key
    elif expected == "start":
        assert isinstance(decision, Start)
    else:
        assert decision == expected


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        (seen(memory=ClusterMemory("another")), ClusterIdentityChanged, f"as cluster {UUID}; remembered is another"),
        (seen(enabled=False), EncryptionDisabled, "not enabled"),
        (seen(key(made=None)), KeyAgeUnknown, "key-0"),
        (seen(pending="12.9.1"), UpgradePending, "12.9.1"),
        (seen(provider=ProviderCheck(15)), KeyProviderUnusable, "no KMIP key provider with keyProviderID 15"),
        (seen(provider=ProviderCheck(15, KeyProvider(15))), KeyProviderUnusable, "has no key server"),
        (
            seen(provider=ProviderCheck(15, KeyProvider(15, (1,)), BROKEN)),
            KeyProviderUnusable,
            "fails its test with xAssumed: Out of entropy.",
        ),
        (seen(faults=(ClusterFault("ensembleDegraded"),)), ClusterFaultsBlock, "ensembleDegraded"),
    ],
)
def test_an_unfit_cluster_is_refused_with_what_to_mend(
    state: Observation, error: type[ElementRekeyError], said: str
) -> None:
    refusal = refused(plan(demand(), state))
    assert type(refusal) is error
    assert said in refusal.what


def test_encryption_without_a_master_key_is_refused() -> None:
    state = replace(seen(), encryption=EncryptionState(enabled=True))
    assert isinstance(refused(plan(demand(), state)), EncryptionDisabled)


def test_a_usable_provider_is_used() -> None:
    asked = demand(key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15)
    state = seen(OLD, provider=ProviderCheck(15, KeyProvider(15, (1,))))
    assert plan(asked, state) == Start(OLD, KeyManagementType.EXTERNAL, 15)


def test_a_satisfied_demand_does_not_care_whether_the_cluster_is_fit_for_a_rekey() -> None:
    assert isinstance(plan(demand(), seen(YOUNG, pending="12.9.1")), Satisfied)


def test_a_handle_that_never_shows_its_job_can_be_disregarded_but_no_other() -> None:
    assert isinstance(plan(demand(), seen(OLD, handle=7), 7), Start)
    assert isinstance(plan(demand(), seen(OLD, handle=8), 7), Follow)


# --- a key whose rekey ended with an error ---

FAILED_JOB = done(None, None, error=BROKEN)  # begun a minute before NOW
FLAWED = key("key-1", NOW - MINUTE)


def test_the_error_of_the_rekey_that_made_the_key_is_reported_with_a_demand_that_is_met() -> None:
    decision = plan(demand(), seen(FLAWED, handle=7, job=FAILED_JOB))
    assert isinstance(decision, SatisfiedWithError)
    assert decision.error.what == (
        "Key key-1 is current, but the rekey that made it ended with xAssumed: Out of entropy."
    )


@pytest.mark.parametrize(
    ("state", "flawed"),
    [
        (seen(FLAWED, handle=7, job=FAILED_JOB, memory=ClusterMemory(UUID)), True),
        (seen(FLAWED, handle=7, job=FAILED_JOB, memory=ClusterMemory(UUID, "key-1", reported_error_of=6)), True),
        (seen(FLAWED, handle=7, job=FAILED_JOB, memory=ClusterMemory(UUID, "key-1", reported_error_of=7)), False),
        (seen(FLAWED, handle=7, job=done(FLAWED, OLD)), False),
        (seen(key("key-1", NOW - MINUTE - 3 * SECOND), handle=7, job=FAILED_JOB), False),
        (seen(key("key-1", NOW - MINUTE - 2 * SECOND), handle=7, job=FAILED_JOB), True),
        (seen(key("key-1", NOW - SECOND), handle=7, job=FAILED_JOB), True),
        (seen(FLAWED, handle=7, job=replace(FAILED_JOB, create_time=None)), False),
        (
            seen(key("key-1", None), handle=7, job=FAILED_JOB, memory=ClusterMemory(UUID, "key-1", NOW - MINUTE)),
            False,
        ),
        (seen(FLAWED), False),
    ],
    ids=[
        "nobody was told",
        "told of an earlier one",
        "told of this one",
        "no error",
        "the job failed before it made a key",
        "the key was made as the job began, by times in whole seconds",
        "the key was made in its course",
        "a job without a time",
        "a key without a time",
        "no job",
    ],
)
def test_an_error_is_reported_once_and_only_of_the_rekey_that_made_the_key(state: Observation, *, flawed: bool) -> None:
    assert isinstance(plan(demand(), state), SatisfiedWithError if flawed else Satisfied)


def test_what_was_reported_of_a_cluster_that_was_replaced_since_says_nothing_of_the_new_one() -> None:
    state = seen(FLAWED, handle=7, job=FAILED_JOB, memory=ClusterMemory("another", reported_error_of=7))
    assert isinstance(plan(demand(accept_cluster_uuid=UUID), state), SatisfiedWithError)


def test_a_key_that_cools_down_is_reported_as_that_and_not_as_made_for_the_demand() -> None:
    state = seen(FLAWED, handle=7, job=FAILED_JOB)
    assert isinstance(plan(demand(made_after=NOW, cool_down=timedelta(days=1)), state), CoolingDown)


def test_a_key_that_does_not_meet_the_demand_is_replaced_whatever_its_rekey_ended_with() -> None:
    assert isinstance(plan(demand(made_after=NOW), seen(FLAWED, handle=7, job=FAILED_JOB)), Start)


# --- faults ---


@pytest.mark.parametrize("code", sorted(FAULTS_BLOCKING_ALWAYS | FAULTS_BLOCKING_ROUTINE))
@pytest.mark.parametrize("urgent", [False, True])
def test_an_alarm_goes_ahead_in_spite_of_what_stops_a_routine_rekey_and_says_so(code: str, *, urgent: bool) -> None:
    decision = plan(demand(urgent=urgent), seen(OLD, faults=(ClusterFault(code),)))
    if urgent and code in FAULTS_BLOCKING_ROUTINE:
        assert decision == Start(OLD, None, None, warnings=(code,))
    else:
        assert isinstance(refused(decision), ClusterFaultsBlock)


@pytest.mark.parametrize("code", sorted(FAULTS_BLOCKING_EXTERNAL))
@pytest.mark.parametrize(
    ("state", "blocks"),
    [
        (seen(OLD), False),
        (seen(external()), True),
        (seen(OLD, provider=ProviderCheck(15, KeyProvider(15, (1,)))), True),
    ],
    ids=["internal to internal", "external in use", "external asked for"],
)
def test_faults_of_key_servers_block_only_where_an_external_key_is_replaced_or_made(
    code: str, state: Observation, *, blocks: bool
) -> None:
    decision = plan(demand(urgent=True), replace(state, faults=(ClusterFault(code),)))
    if blocks:
        assert isinstance(refused(decision), ClusterFaultsBlock)
    else:
        assert isinstance(decision, Start)
        assert decision.warnings == (code,)


@pytest.mark.parametrize("code", sorted(FAULTS_BLOCKING_ALWAYS | FAULTS_BLOCKING_ROUTINE | FAULTS_BLOCKING_EXTERNAL))
def test_a_fault_a_person_ignores_becomes_a_warning(code: str) -> None:
    state = seen(external(), faults=(ClusterFault(code),))
    decision = plan(demand(ignore_faults=frozenset({code})), state)
    assert isinstance(decision, Start)
    assert decision.warnings == (code,)


def test_ignoring_one_fault_does_not_ignore_another_and_each_is_named_once() -> None:
    faults = tuple(ClusterFault(code) for code in ("upgrade", "nodeOffline", "upgrade", "exception"))
    refusal = refused(plan(demand(ignore_faults=frozenset({"nodeOffline"})), seen(OLD, faults=faults)))
    assert refusal.what == "Current faults stand against a rekey: exception, upgrade."


def test_a_fault_that_has_no_bearing_is_not_even_a_warning() -> None:
    assert plan(demand(), seen(OLD, faults=(ClusterFault("driveWearFault"),))) == Start(OLD, None, None)


# --- when a key was made ---

WITNESSED = ClusterMemory(UUID, "key-1", NOW - HOUR)


@pytest.mark.parametrize(
    ("current", "memory", "job", "expected"),
    [
        (key("key-1", NOW - DAY), None, None, NOW - DAY),
        (key("key-1", None), None, None, None),
        (key("key-1", NOW + CLOCK_TOLERANCE), None, None, NOW + CLOCK_TOLERANCE),
        (key("key-1", NOW + CLOCK_TOLERANCE + SECOND), None, None, None),
        (key("key-1", NOW - DAY), WITNESSED, None, NOW - HOUR),
        (key("key-1", NOW - MINUTE), WITNESSED, None, NOW - MINUTE),
        (key("key-1", NOW + DAY), WITNESSED, None, NOW - HOUR),
        (key("key-2", NOW - DAY), WITNESSED, None, NOW - DAY),
        (key("key-2", NOW - DAY), replace(WITNESSED, key_seen_at=NOW - MINUTE), None, NOW - MINUTE),
        (key("key-2", NOW - SECOND), replace(WITNESSED, key_seen_at=NOW - MINUTE), None, NOW - SECOND),
        (key("key-2", None), replace(WITNESSED, key_seen_at=NOW - MINUTE), None, NOW - MINUTE),
        (key("key-1", NOW - DAY), replace(WITNESSED, key_seen_at=NOW - MINUTE), None, NOW - HOUR),
        (key("key-1", NOW - DAY), replace(WITNESSED, uuid="another", key_seen_at=NOW - MINUTE), None, NOW - DAY),
        (key("key-1", None), ClusterMemory(UUID, "key-1"), None, None),
        (key("key-1", None), None, done(key("key-1"), OLD), NOW - MINUTE),
        (key("key-1", None), None, done(key("key-2"), OLD), None),
        (key("key-1", None), None, done(None, OLD), None),
        (key("key-1", None), None, replace(done(key("key-1"), OLD), create_time=None), None),
    ],
)
def test_when_a_key_was_made_is_reported_by_the_best_witness_there_is(
    current: MasterKey, memory: ClusterMemory | None, job: RekeyJob | None, expected: datetime | None
) -> None:
    assert made_at(current, seen(current, memory=memory, job=job)) == expected


# --- what is remembered ---

REMEMBERED = ClusterMemory(UUID, "key-0", NOW - DAY, NOW - HOUR, reported_error_of=3)


@pytest.mark.parametrize(
    ("memory", "key_id", "now", "expected"),
    [
        (None, "key-0", NOW, ClusterMemory(UUID, "key-0", None, NOW)),
        (None, "key-0", None, ClusterMemory(UUID, "key-0")),
        (replace(REMEMBERED, uuid="another"), "key-0", NOW, ClusterMemory(UUID, "key-0", None, NOW)),
        (REMEMBERED, "key-0", NOW, replace(REMEMBERED, key_seen_at=NOW)),
        (REMEMBERED, "key-0", None, REMEMBERED),
        (REMEMBERED, "key-1", NOW, ClusterMemory(UUID, "key-1", NOW - HOUR, NOW, reported_error_of=3)),
        (REMEMBERED, "key-1", None, ClusterMemory(UUID, "key-1", NOW - HOUR, NOW - HOUR, reported_error_of=3)),
        (ClusterMemory(UUID), "key-1", NOW, ClusterMemory(UUID, "key-1", None, NOW)),
    ],
    ids=[
        "never seen",
        "never seen, and a rekey runs",
        "a replaced cluster",
        "the same key",
        "the same key, and a rekey runs",
        "a new key",
        "a new key, and a rekey runs",
        "remembered by an earlier version",
    ],
)
def test_what_a_look_leaves_in_memory(
    memory: ClusterMemory | None, key_id: str, now: datetime | None, expected: ClusterMemory
) -> None:
    assert updated_memory(memory, UUID, key(key_id), now) == expected


# --- settling a rekey whose answer was lost ---


@pytest.mark.parametrize(
    ("state", "sent", "expected"),
    [
        (seen(OLD, handle=7), intent(), "follow 7"),
        (seen(OLD, handle=7), intent(baseline_async_result_id=6), "follow 7"),
        (seen(key("key-1"), handle=6), intent(baseline_async_result_id=6), "follow None"),
        (seen(key("key-1")), intent(), "follow None"),
        (seen(OLD, handle=6), intent(baseline_async_result_id=6), "unsettled"),
        (seen(OLD), intent(), "unsettled"),
        (seen(OLD), intent(sent_at=NOW - SETTLING + SECOND), "unsettled"),
        (seen(OLD), intent(sent_at=NOW - SETTLING), "anew"),
        (seen(OLD), intent(sent_at=NOW - DAY, attempts=ATTEMPTS), "unsettled"),
        (seen(OLD, handle=7), intent(sent_at=NOW - DAY, attempts=ATTEMPTS), "follow 7"),
    ],
)
def test_settle(state: Observation, sent: Any, expected: str) -> None:  # noqa: ANN401 - an Intent
    found = resolve_lost_answer(sent, state, SETTLING, "prod-a")
    if expected.startswith("follow"):
        assert isinstance(found, Follow)
        assert str(found.following.async_handle) == expected.removeprefix("follow ")
        assert found.following.ours
        assert found.following.since == sent.sent_at
        assert found.following.baseline_key == sent.baseline_key
    else:
        assert found == (AnswerStillUnknown() if expected == "unsettled" else None)


def test_another_cluster_settles_nothing() -> None:
    assert isinstance(
        refused(resolve_lost_answer(intent(), seen(uuid="another"), SETTLING, "prod-a")), ClusterIdentityChanged
    )


def test_a_cluster_without_a_key_settles_nothing() -> None:
    state = replace(seen(), encryption=EncryptionState(enabled=True))
    assert resolve_lost_answer(intent(), state, SETTLING, "prod-a") == AnswerStillUnknown()


# --- judging a followed rekey ---

NEW = key("key-1", NOW)


def judged(
    job: RekeyJob | None,
    current: MasterKey | None = NEW,
    listed: int | None = 7,
    *,
    asked: Demand | None = None,
    **changes: Any,  # noqa: ANN401 - members of Following
) -> StillRunning | KeyChanged | Superseded | Fail:
    state = EncryptionState(enabled=True, master_key=current, rekey_async_result_id=listed)
    return verify(following(**changes), StatusSeen(NOW, job, state), asked or demand(), SETTLING)


def test_a_running_job_is_waited_for() -> None:
    assert judged(running(), OLD) == StillRunning()


def test_a_completed_job_that_the_state_agrees_with_is_the_proof() -> None:
    verdict = judged(done(NEW, OLD))
    assert isinstance(verdict, KeyChanged)
    assert (verdict.change.old_key, verdict.change.new_key) == (OLD, NEW)
    assert verdict.change.key_to_decommission == OLD
    assert verdict.change.ours
    assert verdict.change.job_result_read
    assert verdict.change.finished_at == NOW - 10 * SECOND
    assert verdict.change.detected_at == NOW
    assert verdict.change.job_seconds == 50
    assert verdict.change.job_error is None


def test_a_job_without_times_is_measured_by_our_own() -> None:
    verdict = judged(replace(done(NEW, OLD), create_time=None, last_update_time=None))
    assert isinstance(verdict, KeyChanged)
    assert (verdict.change.finished_at, verdict.change.job_seconds) == (NOW, 60)


def test_a_job_whose_times_run_backwards_took_no_time() -> None:
    verdict = judged(replace(done(NEW, OLD), last_update_time=NOW - HOUR))
    assert isinstance(verdict, KeyChanged)
    assert verdict.change.job_seconds == 0


def test_the_proof_holds_where_the_next_rekey_is_listed_already() -> None:
    assert isinstance(judged(done(NEW, OLD), listed=8), KeyChanged)


@pytest.mark.parametrize(
    ("job", "current", "asked", "said"),
    [
        (done(None, OLD), NEW, None, "its result does not name both keys"),
        (done(NEW, None), NEW, None, "its result does not name both keys"),
        (done(key("key-2"), OLD), NEW, None, "it made key key-2 and current is key-1"),
        (done(OLD, OLD), OLD, None, "key key-0 was current before it, too"),
        (done(NEW, key("key-x")), NEW, None, "it retires key-x and not key-0"),
        (
            done(NEW, OLD),
            NEW,
            demand(key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15),
            "the key's management is Internal, provider None, not as asked",
        ),
    ],
)
def test_a_completed_job_that_the_state_contradicts_proves_nothing(
    job: RekeyJob, current: MasterKey, asked: Demand | None, said: str
) -> None:
    refusal = refused(judged(job, current, asked=asked))
    assert isinstance(refusal, RotationNotProven)
    assert said in refusal.what


def test_a_contradiction_is_explained_by_a_rekey_that_came_after_and_what_ours_did_is_kept() -> None:
    verdict = judged(done(NEW, OLD), key("key-2"), listed=8)
    assert isinstance(verdict, Superseded)
    assert verdict.change
    assert (verdict.change.old_key, verdict.change.new_key, verdict.change.ours) == (OLD, NEW, True)
    assert verdict.change.key_to_decommission == OLD
    assert verdict.change.job_result_read


@pytest.mark.parametrize(
    "job",
    [done(None, OLD), done(NEW, None), done(NEW, key("key-x"))],
    ids=["without the new key", "without the old key", "of another key"],
)
def test_a_rekey_that_may_not_have_been_ours_proves_nothing_once_another_came_after(job: RekeyJob) -> None:
    assert isinstance(refused(judged(job, key("key-2"), listed=8)), RotationNotProven)


def test_somebody_elses_rekey_is_nobodys_once_another_came_after() -> None:
    verdict = judged(done(NEW, OLD), key("key-2"), listed=8, ours=False)
    assert isinstance(verdict, Superseded)
    assert verdict.change is None


@pytest.mark.parametrize("job", [None, done(NEW, OLD), done(NEW, OLD, error=BROKEN), done(key("key-x"), OLD)])
def test_a_rekey_taken_for_ours_is_not_judged_while_ours_may_still_come(job: RekeyJob | None) -> None:
    listed = None if job is None else 7
    early, late = NOW - SETTLING + SECOND, NOW - SETTLING
    assert judged(job, NEW, listed=listed, presumed_ours=True, since=early) == StillRunning()
    assert judged(job, NEW, listed=listed, presumed_ours=True, since=late) != StillRunning()
    assert judged(job, NEW, listed=listed, since=early) != StillRunning()


@pytest.mark.parametrize("job", [None, running(), done(NEW, OLD), done(NEW, OLD, error=BROKEN)])
@pytest.mark.parametrize("handle", [7, None])
def test_what_came_after_a_rekey_taken_for_ours_may_be_ours(job: RekeyJob | None, handle: int | None) -> None:
    since = NOW - SETTLING
    verdict = judged(job, NEW, listed=8, presumed_ours=True, since=since, async_handle=handle)
    assert isinstance(refused(verdict), RekeyOutcomeUnknown)
    assert refused(verdict).what == "Another rekey came after the one that was taken for ours."


@pytest.mark.parametrize(("seconds", "known"), [(3, False), (2, True), (0, True)])
def test_a_key_older_than_the_rekey_that_failed_is_not_its_work(*, seconds: int, known: bool) -> None:
    job = done(None, None, error=BROKEN)
    assert job.create_time
    verdict = judged(job, key("key-1", job.create_time - seconds * SECOND))
    if known:
        assert isinstance(verdict, KeyChanged)
    else:
        assert isinstance(refused(verdict), RekeyOutcomeUnknown)
        assert "the current key key-1 was made before it" in refused(verdict).what
    for untimed in (replace(job, create_time=None), job):
        assert isinstance(judged(untimed, key("key-1", None)), KeyChanged)
    assert isinstance(judged(job, key("key-1", job.create_time - seconds * SECOND), ours=False), KeyChanged)


def test_a_failed_rekey_that_is_taken_for_ours_is_called_so() -> None:
    job = done(None, None, error=BROKEN)
    assert refused(judged(job, OLD, presumed_ours=True, since=NOW - SETTLING)).what.startswith(
        "The rekey taken for ours ended with xAssumed"
    )
    assert refused(judged(job, OLD)).what.startswith("The rekey ended with xAssumed")


def test_a_lost_rekey_is_only_taken_for_ours() -> None:
    by_handle, by_key = seen(NEW, handle=7), seen(NEW)
    for state in (by_handle, by_key):
        found = resolve_lost_answer(intent(), state, SETTLING, "prod-a")
        assert isinstance(found, Follow)
        assert found.following.presumed_ours


def test_a_foreign_job_followed_from_its_middle_may_have_its_new_key_current_already() -> None:
    verdict = judged(done(NEW, OLD), NEW, ours=False, baseline_key=NEW)
    assert isinstance(verdict, KeyChanged)
    assert verdict.change.old_key == OLD
    assert not verdict.change.ours


def test_a_foreign_job_that_made_another_key_proves_nothing() -> None:
    assert isinstance(refused(judged(done(key("key-2"), OLD), NEW, ours=False)), RotationNotProven)


def test_no_master_key_proves_nothing() -> None:
    assert isinstance(refused(judged(running(), None)), RotationNotProven)


def test_our_job_that_failed_before_the_change_of_keys_failed() -> None:
    refusal = refused(judged(done(None, None, error=BROKEN), OLD))
    assert isinstance(refusal, RekeyFailed)
    assert "xAssumed: Out of entropy." in refusal.what


def test_a_job_that_failed_after_the_change_of_keys_is_reported_with_both() -> None:
    verdict = judged(done(None, None, error=BROKEN), NEW)
    assert isinstance(verdict, KeyChanged)
    assert verdict.change.job_error == BROKEN
    assert (verdict.change.old_key, verdict.change.new_key) == (OLD, NEW)


def test_somebody_elses_failure_is_no_failure_of_ours() -> None:
    verdict = judged(done(None, None, error=BROKEN), OLD, ours=False)
    assert isinstance(verdict, Superseded)
    assert "xAssumed" in verdict.why


def test_a_failure_of_somebody_elses_followed_by_another_rekey_is_looked_at_anew() -> None:
    assert isinstance(judged(done(None, None, error=BROKEN), NEW, listed=8, ours=False), Superseded)


def test_what_a_failure_of_ours_left_is_unknown_once_another_rekey_came_after() -> None:
    error = refused(judged(done(None, None, error=BROKEN), NEW, listed=8))
    assert isinstance(error, RekeyOutcomeUnknown)
    assert BROKEN.name in error.what
    assert "another rekey came after it" in error.what


@pytest.mark.parametrize(
    ("current", "listed", "changes", "expected"),
    [
        (OLD, 7, {}, StillRunning(shown=False)),
        (NEW, 7, {}, StillRunning(shown=False)),
        (NEW, None, {}, "ended"),
        (NEW, None, {"async_handle": None}, "ended"),
        (OLD, None, {}, StillRunning(shown=False)),
        (OLD, None, {"since": NOW - SETTLING + SECOND}, StillRunning(shown=False)),
        (OLD, None, {"since": NOW - SETTLING}, "unknown"),
        (OLD, None, {"since": NOW - SETTLING, "ours": False}, "replan"),
    ],
)
def test_without_a_readable_job_the_state_decides(
    current: MasterKey, listed: int | None, changes: dict[str, Any], expected: object
) -> None:
    verdict = judged(None, current, listed, **changes)
    match expected:
        case "ended":
            assert isinstance(verdict, KeyChanged)
            assert not verdict.change.job_result_read
            assert verdict.change.finished_at == NOW
            assert verdict.change.job_seconds == 60
        case "unknown":
            assert isinstance(refused(verdict), RekeyOutcomeUnknown)
        case "replan":
            assert isinstance(verdict, Superseded)
        case _:
            assert verdict == expected


def test_a_change_that_ended_well_has_no_error() -> None:
    assert error_of_change("prod-a", change()) is None


def test_a_change_that_ended_badly_names_the_key_and_the_clusters_own_error() -> None:
    error = error_of_change("prod-a", change(job_error=BROKEN))
    assert error
    assert error.what == "Key key-1 is current, but the rekey that made it ended with xAssumed: Out of entropy."


# --- waiting ---


@pytest.mark.parametrize(
    ("age", "left", "seconds"),
    [
        (timedelta(), HOUR, 5),
        (20 * SECOND, HOUR, 5),
        (60 * SECOND, HOUR, 15),
        (20 * MINUTE, HOUR, 300),
        (2 * DAY, HOUR, 300),
        (20 * MINUTE, MINUTE, 60),
        (20 * MINUTE, SECOND, 5),
        (20 * MINUTE, -HOUR, 5),
    ],
)
def test_next_wait(age: timedelta, left: timedelta, seconds: int) -> None:
    assert next_wait(age, left) == seconds


# --- what holds always ---

spans = st.timedeltas(-30 * DAY, 30 * DAY)
moments = spans.map(lambda span: NOW + span)
ids = st.sampled_from(["key-0", "key-1", "key-2"])
kinds = st.sampled_from([(KeyManagementType.INTERNAL, None), (KeyManagementType.EXTERNAL, 15)])
keys = st.builds(lambda key_id, kind, made: key(key_id, made, kind[0], kind[1]), ids, kinds, st.none() | moments)
jobs = st.builds(
    RekeyJob,
    st.just(7),
    complete=st.booleans(),
    create_time=st.none() | moments,
    last_update_time=st.none() | moments,
    phase=st.just(""),
    new_key=st.none() | keys,
    key_to_decommission=st.none() | keys,
    error=st.none() | st.just(BROKEN),
)
memories = st.none() | st.builds(
    ClusterMemory,
    st.sampled_from([UUID, "another"]),
    ids,
    st.none() | moments,
    st.none() | moments,
    st.none() | st.sampled_from([6, 7]),
)
states = st.builds(
    lambda current, enabled, handle, job, memory, pending, codes: replace(
        seen(enabled=enabled, handle=handle, job=job if handle else None, memory=memory, pending=pending),
        encryption=EncryptionState(enabled, current, handle),
        faults=tuple(ClusterFault(code) for code in codes),
    ),
    st.none() | keys,
    st.sampled_from([True, True, True, False]),
    st.none() | st.just(7),
    st.none() | jobs,
    memories,
    st.sampled_from(["", "", "12.9.1"]),
    st.lists(st.sampled_from(["upgrade", "nodeOffline", "driveWearFault"]), max_size=2),
)
demands = st.builds(
    lambda kind, **members: Demand(
        cluster="prod-a",
        key_management_type=kind[0] if kind else None,
        key_provider_id=kind[1] if kind else None,
        **members,
    ),
    st.none() | kinds,
    made_after=moments,
    needs_age=st.booleans(),
    cool_down=st.timedeltas(timedelta(), 10 * DAY),
    urgent=st.booleans(),
    ignore_faults=st.sets(st.sampled_from(["upgrade", "nodeOffline"])).map(frozenset),
    accept_cluster_uuid=st.sampled_from(["", UUID]),
)
intents = st.builds(
    lambda handle, sent, attempts: intent(baseline_async_result_id=handle, sent_at=sent, attempts=attempts),
    st.none() | st.sampled_from([6, 7]),
    moments,
    st.integers(1, 3),
)


@given(demands, states)
def test_nothing_is_started_while_a_rekey_runs(asked: Demand, state: Observation) -> None:
    if state.encryption.rekey_async_result_id and not (state.job and state.job.complete):
        assert not isinstance(plan(asked, state), Start)


@given(demands, states)
def test_nothing_is_started_onto_a_key_that_meets_the_demand(asked: Demand, state: Observation) -> None:
    decision = plan(asked, state)
    if isinstance(decision, Start):
        current = state.encryption.master_key
        assert current == decision.baseline_key
        made = made_at(current, state)
        assert not asked.of_kind(current) or made is None or made <= asked.made_after


@given(demands, states)
def test_nothing_is_started_on_a_stranger_without_encryption_or_during_an_upgrade(
    asked: Demand, state: Observation
) -> None:
    if isinstance(plan(asked, state), Start):
        assert state.encryption.enabled
        assert not state.version.pending_cluster_version
        assert state.memory is None or UUID in (state.memory.uuid, asked.accept_cluster_uuid)


@given(demands, states)
def test_what_satisfies_is_of_the_kind_and_age_demanded(asked: Demand, state: Observation) -> None:
    decision = plan(asked, state)
    if isinstance(decision, Satisfied):
        assert decision.made > asked.made_after
        assert state.encryption.master_key
        assert asked.of_kind(state.encryption.master_key)


@given(demands, states)
def test_a_flawed_key_meets_the_demand_and_its_error_was_not_reported(asked: Demand, state: Observation) -> None:
    decision = plan(asked, state)
    if isinstance(decision, SatisfiedWithError):
        current = state.encryption.master_key
        assert current
        made = made_at(current, state)
        assert made
        assert made > asked.made_after
        assert asked.of_kind(current)
        assert state.job
        assert state.job.error
        reported = updated_memory(state.memory, UUID, current, NOW).reported_error_of
        assert reported != state.job.async_handle
        later = replace(updated_memory(state.memory, UUID, current, NOW), reported_error_of=state.job.async_handle)
        assert isinstance(plan(asked, replace(state, memory=later)), Satisfied)


looks = st.lists(st.tuples(ids, st.timedeltas(timedelta(), DAY), st.booleans()), min_size=1, max_size=8)


@given(looks)
def test_what_is_remembered_never_says_that_a_key_was_made_later_than_it_was(
    seen_one_after_another: list[tuple[str, timedelta, bool]],
) -> None:
    """Each sight of another key: it was made since the last sight before, or since the begin of a rekey seen then."""
    memory, now, current, calm = None, NOW, "", None
    earliest: datetime | None = None
    for key_id, passed, running_ in seen_one_after_another:
        now += passed
        if key_id != current:
            current, earliest = key_id, calm
        calm = calm if running_ else now
        memory = updated_memory(memory, UUID, key(key_id), None if running_ else now)
        assert memory.key_id == current
        assert memory.key_made_after == earliest
        assert memory.key_seen_at == calm


@given(intents, states)
def test_a_lost_answer_leads_to_planning_anew_only_after_settling_on_an_unchanged_cluster_and_once(
    sent: Any,  # noqa: ANN401 - an Intent
    state: Observation,
) -> None:
    if resolve_lost_answer(sent, state, SETTLING, "prod-a") is None:
        assert state.at >= sent.sent_at + SETTLING
        assert sent.attempts < ATTEMPTS
        assert state.encryption.master_key is None or state.encryption.master_key.key_id == sent.baseline_key.key_id
        assert state.encryption.rekey_async_result_id in (None, sent.baseline_async_result_id)


@given(st.booleans(), st.none() | jobs, keys, st.sampled_from([None, 7, 8]), demands, moments)
def test_our_rekey_never_counts_as_ended_without_a_change_of_keys(
    seen_handle: bool,  # noqa: FBT001 - hypothesis gives it by position
    job: RekeyJob | None,
    current: MasterKey,
    listed: int | None,
    asked: Demand,
    now: datetime,
) -> None:
    followed = following(async_handle=7 if seen_handle else None)
    looked = StatusSeen(now, job, EncryptionState(enabled=True, master_key=current, rekey_async_result_id=listed))
    verdict = verify(followed, looked, asked, SETTLING)
    if isinstance(verdict, KeyChanged):
        assert verdict.change.new_key == current
        assert current.key_id != followed.baseline_key.key_id
        assert verdict.change.job_seconds is not None
        assert verdict.change.job_seconds >= 0
        if job and not job.error:
            assert job.complete
            assert job.new_key
            assert job.new_key.key_id == current.key_id
            assert asked.of_kind(current)


@given(st.timedeltas(), st.timedeltas(), st.timedeltas())
def test_a_wait_is_between_five_and_three_hundred_seconds_and_grows_with_age(
    one: timedelta, other: timedelta, left: timedelta
) -> None:
    shorter, longer = sorted((one, other))
    assert 5 <= next_wait(shorter, left) <= next_wait(longer, left) <= 300


@given(
    st.sampled_from(list(Trigger)),
    st.timedeltas(timedelta(), 100 * DAY),
    st.none() | st.timedeltas(-DAY, DAY),
    st.timedeltas(SECOND, DAY),
)
def test_a_demand_delivered_twice_is_satisfied_the_second_time_whatever_the_clusters_clock_says(
    trigger: Trigger, before: timedelta, skew: timedelta | None, later: timedelta
) -> None:
    """One reason, two executions: the first rotates at NOW, the second one begins ``later``."""
    request = Request("prod-a", trigger=trigger, key_created_after=NOW - before)
    first = demand_of(request, NOW)
    second = demand_of(request, NOW + later)
    sent = NOW + SECOND
    stamped = None if skew is None else sent + skew
    made = key("key-1", stamped)
    memory = ClusterMemory(UUID, "key-1", sent)
    assert isinstance(plan(first, seen(OLD)), Start) or before > 90 * DAY
    assert isinstance(plan(second, seen(made, at=NOW + later + SECOND, memory=memory)), Satisfied)
