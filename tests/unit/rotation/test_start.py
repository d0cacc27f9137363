from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from element_rekey.cluster import (
    Certificate,
    CertificateOf,
    ClusterFault,
    ElementError,
    KeyManagementType,
    KeyProvider,
)
from element_rekey.codec import encode
from element_rekey.errors import (
    AnswerNotUnderstood,
    AwsCallFailed,
    ClusterBusy,
    ClusterFaultsBlock,
    ClusterIdentityChanged,
    ClusterNotRegistered,
    ClusterUnavailable,
    CredentialsRefused,
    ElementApiError,
    ElementRekeyError,
    EncryptionDisabled,
    KeyProviderUnusable,
    PermissionDenied,
    RekeyRefused,
    RequestInvalid,
    UpgradePending,
)
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import ClusterMemory, Execution, Failure, Lock, ProviderTest, Request
from element_rekey.rotation.steps import Status
from element_rekey.rules.selection import LARGEST_RECORD, size_in_bytes
from tests.fakes import NOW, SETTINGS
from tests.unit.harness import RotationHarness
from tests.unit.samples import (
    ARN,
    BROKEN,
    DAY,
    HOUR,
    MINUTE,
    OTHER_ARN,
    SECOND,
    change,
    external,
    key,
    main_memory,
    rotation,
)

SEEN = ClusterMemory("uuid-of-prod-a", "key-0", key_seen_at=NOW)


@pytest.fixture
def harness() -> RotationHarness:
    return RotationHarness()


MADE = "2026-11-22 03:00:00 UTC"
SETTLING_SECONDS = SETTINGS.settling.total_seconds()
REFUSED = RekeyRefused("Answered with xAssumed.", name="xAssumed")


def scheduled(**changes: object) -> Request:
    return replace(
        Request("prod-a", trigger=Trigger.SCHEDULE, key_created_after=NOW - 90 * DAY),
        **changes,  # type: ignore[arg-type]  # members of Request
    )


OFFLINE = (ClusterFault("nodeOffline"),)


def test_what_would_refuse_a_rekey_is_written_down_where_the_schedule_finds_nothing_due(
    harness: RotationHarness,
) -> None:
    harness.request = scheduled()
    harness.cluster.key = key(made=NOW - DAY)
    harness.cluster.current_faults = OFFLINE
    step = harness.start()
    assert step.rotation.outcome is Outcome.NOT_DUE
    assert step.rotation.unfit
    assert step.rotation.unfit.error == "ClusterFaultsBlock"
    assert harness.record().unfit == step.rotation.unfit


@pytest.mark.parametrize("trigger", [Trigger.MANUAL, Trigger.ALARM, Trigger.SCHEDULE])
def test_nothing_is_written_down_where_nobody_asks_or_nothing_is_in_the_way(
    harness: RotationHarness, trigger: Trigger
) -> None:
    harness.request = scheduled(trigger=trigger)
    harness.cluster.key = key(made=NOW - DAY)
    harness.cluster.current_faults = () if trigger is Trigger.SCHEDULE else OFFLINE
    assert harness.start().rotation.outcome is Outcome.NOT_DUE
    assert harness.record().unfit is None


def test_a_look_finds_what_a_rotation_would_find_and_changes_nothing(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", trigger=Trigger.READINESS, dry_run=True)
    harness.cluster.key = key(made=NOW - DAY)
    harness.cluster.current_faults = OFFLINE
    with pytest.raises(ClusterFaultsBlock, match="Current faults stand against a rekey: nodeOffline"):
        harness.start()
    harness.cluster.current_faults = ()
    assert harness.start().rotation.outcome is Outcome.PLANNED
    assert (harness.cluster.rekeys, harness.ledger.lock("prod-a"), harness.ledger.memory("prod-a")) == (0, None, None)


def test_a_key_made_since_the_look_began_hides_no_fault(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", trigger=Trigger.READINESS, dry_run=True)
    harness.clock.advance(60)
    harness.cluster.key = key(made=NOW + SECOND)
    harness.cluster.current_faults = OFFLINE
    step = harness.start()
    assert step.rotation.outcome is Outcome.NOT_DUE
    assert step.rotation.unfit


def test_an_old_key_is_replaced_once_and_what_was_begun_is_written_down(harness: RotationHarness) -> None:
    step = harness.start()
    assert (step.status, step.wait_seconds) == (Status.CHECK_AGAIN, 5)
    assert harness.cluster.rekeys == 1
    record = harness.record()
    assert record == step.rotation
    assert record.intent
    assert record.intent.baseline_key == key()
    assert (record.intent.cluster_uuid, record.intent.attempts) == (harness.cluster.uuid, 1)
    assert record.following
    assert (record.following.async_handle, record.following.ours) == (7, True)
    assert record.detail == "Replacing key key-0."
    assert (record.cluster_uuid, record.cluster_name) == ("uuid-of-prod-a", "production")
    assert harness.ledger.lock("prod-a") == Lock(harness.execution.id, NOW + SETTINGS.lease)
    assert main_memory(harness.ledger) == SEEN


def test_the_lock_is_taken_before_the_cluster_is_looked_at_and_the_intent_written_before_the_rekey(
    harness: RotationHarness,
) -> None:
    held: list[str] = []

    def look() -> None:
        lock = harness.ledger.lock("prod-a")
        held.append(lock.owner if lock else "")

    def sent() -> None:
        intent = harness.record().intent
        assert intent
        held.append(f"intent {intent.attempts}")

    harness.cluster.before = {"check_api_version": look, "rekey": sent}
    harness.start()
    assert held == [harness.execution.id, "intent 1"]


def test_a_repeated_start_finds_the_rekey_and_sends_none(harness: RotationHarness) -> None:
    harness.start()
    harness.clock.advance(40)
    again = harness.start()
    assert (again.status, again.wait_seconds) == (Status.CHECK_AGAIN, 10)
    assert harness.cluster.rekeys == 1


def test_a_repeated_start_after_the_end_does_not_look_at_the_cluster(harness: RotationHarness) -> None:
    harness.start()
    harness.change_record(outcome=Outcome.ROTATED)
    harness.cluster.calls.clear()
    assert harness.start().status is Status.PUBLISH
    assert harness.cluster.calls == []


def test_the_kind_asked_for_is_what_the_rekey_asks_for(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15)
    harness.cluster.providers = (KeyProvider(14), KeyProvider(15, (1,)))
    harness.start()
    made = harness.cluster.new_keys[7]
    assert (made.key_management_type, made.key_provider_id) == (KeyManagementType.EXTERNAL, 15)
    assert "test_key_provider" in harness.cluster.calls


@pytest.mark.parametrize(
    ("providers", "errors", "tested"),
    [((), {}, False), ((KeyProvider(15),), {}, False), ((KeyProvider(15, (1,)),), {15: BROKEN}, True)],
    ids=["unknown", "without a server", "failing its test"],
)
def test_the_provider_of_the_key_in_use_is_checked_too(
    harness: RotationHarness, providers: tuple[KeyProvider, ...], errors: dict[int, ElementError], *, tested: bool
) -> None:
    harness.cluster.key = external()
    harness.cluster.providers, harness.cluster.test_errors = providers, errors
    with pytest.raises(KeyProviderUnusable) as caught:
        harness.start()
    assert caught.value.cluster == "prod-a"
    assert ("test_key_provider" in harness.cluster.calls) is tested
    assert harness.cluster.rekeys == 0


TESTED = "test_key_provider"


@pytest.fixture
def outside(harness: RotationHarness) -> RotationHarness:
    """A cluster whose key is kept outside, by a provider in order."""
    harness.cluster.key = external()
    harness.cluster.providers = (KeyProvider(15, (1,)),)
    return harness


def test_a_provider_is_tested_last_and_everything_is_looked_at_once_more(outside: RotationHarness) -> None:
    outside.start()
    calls = outside.cluster.calls
    looks = calls[: calls.index(TESTED)]
    assert looks[:4] == ["check_api_version", "version", "faults", "encryption"]
    assert looks[4:] == ["key_server_certificates", "key_providers", "identity"]
    assert calls == [*looks, TESTED, *looks, "rekey"]
    assert outside.record().provider_test == ProviderTest(15, NOW)


def test_what_changes_while_a_provider_is_tested_is_seen(outside: RotationHarness) -> None:
    outside.cluster.before = {TESTED: lambda: setattr(outside.cluster, "key", external("key-9", made=NOW + SECOND))}
    outside.request = scheduled()
    assert outside.start().rotation.outcome is Outcome.NOT_DUE
    assert outside.cluster.rekeys == 0


def test_a_key_that_moves_to_another_provider_meanwhile_has_that_one_tested_too(outside: RotationHarness) -> None:
    outside.cluster.providers = (KeyProvider(15, (1,)), KeyProvider(16, (2,)))
    outside.cluster.before = {TESTED: lambda: setattr(outside.cluster, "key", external("key-9", provider=16))}
    outside.start()
    assert outside.cluster.calls.count(TESTED) == 2
    assert outside.record().provider_test == ProviderTest(16, NOW)


@pytest.mark.parametrize("reason", ["not due", "upgrade", "fault", "cooling down"])
def test_a_provider_is_not_tested_for_a_rekey_that_is_not_sent_anyway(outside: RotationHarness, reason: str) -> None:
    if reason == "not due":
        outside.request = scheduled(key_created_after=NOW - 500 * DAY)
    elif reason == "upgrade":
        outside.cluster.pending_version = "12.9.1"
    elif reason == "fault":
        outside.cluster.current_faults = (ClusterFault("nodeOffline"),)
    else:
        outside.request = scheduled(trigger=Trigger.ALARM, cool_down_seconds=500 * 86_400)
    with suppress(ElementRekeyError):
        outside.start()
    assert TESTED not in outside.cluster.calls
    assert outside.cluster.rekeys == 0


def test_a_test_that_was_passed_is_not_repeated_by_retries(outside: RotationHarness) -> None:
    away = ClusterUnavailable("Refused.")
    outside.cluster.failing = {"rekey": [away], "faults": [], "identity": []}
    outside.cluster.before = {TESTED: lambda: outside.cluster.failing["identity"].append(away)}
    for _ in range(2):
        with pytest.raises(ClusterUnavailable):
            outside.start()
        outside.clock.advance(60)
    outside.start()
    assert outside.cluster.calls.count(TESTED) == 1
    assert outside.cluster.rekeys == 1


def test_a_test_that_was_passed_long_ago_is_repeated(outside: RotationHarness) -> None:
    outside.cluster.failing = {"rekey": [ClusterUnavailable("Refused.")] * 2}
    for seconds in (899, 1):
        with pytest.raises(ClusterUnavailable):
            outside.start()
        assert outside.cluster.calls.count(TESTED) == 1
        outside.clock.advance(seconds)
    outside.start()
    assert outside.cluster.calls.count(TESTED) == 2


def test_a_provider_that_does_not_answer_its_test_in_time_is_unusable(outside: RotationHarness) -> None:
    outside.cluster.failing = {TESTED: [KeyProviderUnusable("No answer.", cluster="prod-a")]}
    with pytest.raises(KeyProviderUnusable):
        outside.start()
    assert outside.cluster.rekeys == 0
    assert main_memory(outside.ledger) == SEEN


def test_a_dry_run_tests_the_provider_and_keeps_nothing(outside: RotationHarness) -> None:
    outside.request = Request("prod-a", dry_run=True)
    step = outside.start()
    assert step.rotation.outcome is Outcome.PLANNED
    assert outside.cluster.calls.count(TESTED) == 1
    assert set(outside.ledger.items) == {f"ROTATION#{ARN}"}
    outside.cluster.test_errors = {15: BROKEN}
    with pytest.raises(KeyProviderUnusable):
        outside.another(OTHER_ARN).start()


def test_an_internal_rekey_asks_no_provider(harness: RotationHarness) -> None:
    harness.cluster.key = external()
    harness.request = Request("prod-a", key_management_type=KeyManagementType.INTERNAL)
    harness.start()
    assert "key_providers" not in harness.cluster.calls
    assert harness.cluster.rekeys == 1


def test_an_external_key_without_a_provider_has_none_to_check(harness: RotationHarness) -> None:
    harness.cluster.key = replace(external(), key_provider_id=None)
    harness.start()
    assert "key_providers" not in harness.cluster.calls


def test_a_cluster_without_a_key_is_refused_without_a_look_at_providers(harness: RotationHarness) -> None:
    harness.cluster.enabled = False
    harness.cluster.before = {"encryption": lambda: setattr(harness.cluster, "key", None)}
    with pytest.raises(EncryptionDisabled):
        harness.start()


def test_a_refusal_changes_nothing_and_names_the_cluster(harness: RotationHarness) -> None:
    harness.cluster.pending_version = "12.9.1"
    with pytest.raises(UpgradePending) as caught:
        harness.start()
    assert caught.value.cluster == "prod-a"
    assert harness.cluster.rekeys == 0
    assert harness.ledger.rotation(harness.execution) is None


def test_a_fault_that_is_ignored_is_reported(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", ignore_faults=("nodeOffline",))
    harness.cluster.current_faults = (ClusterFault("nodeOffline"),)
    assert harness.start().rotation.detail == "Replacing key key-0 in spite of nodeOffline."


def test_an_unregistered_cluster_is_refused(harness: RotationHarness) -> None:
    harness.request = Request("prod-b")
    with pytest.raises(ClusterNotRegistered):
        harness.start()


def test_another_cluster_at_the_address_is_refused_until_a_person_accepts_it(harness: RotationHarness) -> None:
    harness.ledger.remember("prod-a", ClusterMemory("uuid-of-old", "key-0", NOW))
    with pytest.raises(ClusterIdentityChanged):
        harness.start()
    assert harness.cluster.rekeys == 0
    harness.request = Request("prod-a", accept_cluster_uuid="uuid-of-prod-a")
    harness.start()
    assert harness.cluster.rekeys == 1
    assert main_memory(harness.ledger) == SEEN


def test_what_is_remembered_of_the_same_cluster_is_kept(harness: RotationHarness) -> None:
    remembered = ClusterMemory("uuid-of-prod-a", "key-0", NOW - 500 * DAY, NOW - DAY, reported_error_of=3)
    harness.ledger.remember("prod-a", remembered)
    harness.start()
    assert main_memory(harness.ledger) == replace(remembered, key_seen_at=NOW)


# --- what is remembered of each look ---


def test_a_look_that_finds_another_key_remembers_the_last_sight_of_the_one_before(harness: RotationHarness) -> None:
    harness.ledger.remember("prod-a", ClusterMemory("uuid-of-prod-a", "key-x", None, NOW - HOUR))
    harness.request = Request("prod-a", key_created_after=NOW - 500 * DAY)
    harness.start()
    assert main_memory(harness.ledger) == replace(SEEN, key_made_after=NOW - HOUR)


@pytest.mark.parametrize(
    "changes", [{"key_created_after": NOW - 500 * DAY}, {"cool_down_seconds": 500 * 86400}, {}], ids=str
)
def test_whatever_is_decided_after_a_look_the_key_was_seen(harness: RotationHarness, changes: dict[str, Any]) -> None:
    harness.request = replace(harness.request, **changes)
    harness.start()
    assert main_memory(harness.ledger) == SEEN


def test_a_dry_run_remembers_nothing(harness: RotationHarness) -> None:
    remembered = ClusterMemory("uuid-of-prod-a", "key-x", None, NOW - HOUR)
    harness.ledger.remember("prod-a", remembered)
    harness.request = Request("prod-a", dry_run=True)
    harness.start()
    assert main_memory(harness.ledger) == remembered


def test_the_key_is_remembered_before_the_rekey_that_replaces_it_is_sent(harness: RotationHarness) -> None:
    remembered: list[ClusterMemory | None] = []
    harness.cluster.before = {"rekey": lambda: remembered.append(main_memory(harness.ledger))}
    harness.start()
    assert remembered == [SEEN]


def test_a_look_during_a_running_rekey_is_no_witness_of_when_its_key_was_made(harness: RotationHarness) -> None:
    harness.ledger.remember("prod-a", replace(SEEN, key_seen_at=NOW - HOUR))
    harness.cluster.begin()
    harness.clock.advance(30)
    harness.start()
    assert main_memory(harness.ledger) == replace(SEEN, key_seen_at=NOW - HOUR)


# --- what is refused before anything is done ---


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_key_made_in_the_future_is_refused_before_the_lock_is_taken(
    harness: RotationHarness, *, dry_run: bool
) -> None:
    harness.request = Request("prod-a", key_created_after=NOW + 5 * MINUTE + SECOND, dry_run=dry_run)
    with pytest.raises(RequestInvalid, match="keyCreatedAfter: expected a time that is not in the future") as caught:
        harness.start()
    assert caught.value.cluster == "prod-a"
    assert harness.ledger.items == {}
    assert harness.cluster.calls == []


@pytest.mark.parametrize("outcome", [None, Outcome.ROTATED], ids=["broken off", "ended"])
@pytest.mark.parametrize("apart", [2 * SECOND, 91 * DAY], ids=str)
def test_an_execution_that_reuses_the_name_of_an_earlier_one_is_one_of_its_own(
    harness: RotationHarness, outcome: Outcome | None, apart: timedelta
) -> None:
    harness.start()
    harness.cluster.finish()
    harness.change_record(outcome=outcome, following=None)
    earlier = harness.publish().rotation
    harness.clock.now += apart
    harness.execution = Execution(ARN, NOW + apart)
    assert harness.start().status is Status.CHECK_AGAIN
    assert harness.cluster.rekeys == 2, "a second demand, by hand"
    assert harness.record().execution == harness.execution
    assert harness.ledger.items[f"ROTATION#{ARN}#2026-11-23T03:00:00.000Z"]["detail"] == earlier.detail


@pytest.mark.parametrize("apart", [-SECOND, timedelta(milliseconds=-1), timedelta(milliseconds=1), SECOND], ids=str)
def test_a_start_that_is_reported_in_two_ways_is_the_same_execution(harness: RotationHarness, apart: timedelta) -> None:
    harness.start()
    harness.execution = Execution(ARN, NOW + apart)
    assert harness.start().status is Status.CHECK_AGAIN
    assert harness.cluster.rekeys == 1


# --- nothing to do ---


def test_a_key_that_meets_the_demand_is_left_alone(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_created_after=NOW - 500 * DAY)
    step = harness.start()
    assert step.status is Status.PUBLISH
    assert harness.record().outcome is Outcome.NOT_DUE
    assert harness.record().detail == "The current key was made at 2025-10-19 03:00:00 UTC, which is recent enough."
    assert harness.cluster.rekeys == 0


def test_a_key_that_is_cooling_down_is_left_alone(harness: RotationHarness) -> None:
    harness.cluster.key = key("key-0", NOW - HOUR)
    harness.request = Request("prod-a", key_created_after=NOW - MINUTE, cool_down_seconds=7200)
    step = harness.start()
    assert (step.status, step.wait_seconds, step.rotation.outcome) == (Status.START_AGAIN, 3600, None)
    assert "cooling down until 2026-11-23 04:00:00 UTC" in harness.record().detail
    assert harness.record().cooling_until == NOW + HOUR
    assert harness.ledger.lock("prod-a") is None, "others may have the cluster meanwhile"
    assert harness.cluster.rekeys == 0


def test_after_the_cool_down_the_demand_is_met(harness: RotationHarness) -> None:
    harness.cluster.key = key("key-0", NOW - HOUR)
    harness.request = Request("prod-a", key_created_after=NOW - MINUTE, cool_down_seconds=7200)
    record = harness.run()
    assert record.outcome is Outcome.ROTATED
    assert record.change
    assert record.change.finished_at >= NOW + HOUR
    assert harness.cluster.rekeys == 1


def test_one_rekey_meets_all_that_waited_for_the_end_of_the_cool_down(harness: RotationHarness) -> None:
    harness.cluster.key = key("key-0", NOW - HOUR)
    harness.request = Request("prod-a", key_created_after=NOW - MINUTE, cool_down_seconds=7200)
    other = harness.another(OTHER_ARN, key_created_after=NOW - SECOND)
    assert other.start().status is harness.start().status is Status.START_AGAIN
    assert harness.run().outcome is Outcome.ROTATED
    assert other.run().outcome is Outcome.NOT_DUE
    assert harness.cluster.rekeys == 1


def test_the_cool_down_does_not_use_up_the_deadline(harness: RotationHarness) -> None:
    harness.cluster.key = key("key-0", NOW - HOUR)
    harness.request = Request("prod-a", key_created_after=NOW - MINUTE, cool_down_seconds=7 * 86_400)
    assert harness.run().outcome is Outcome.ROTATED


# --- waiting for the moment asked for ---


@pytest.mark.parametrize(
    ("early", "wait"),
    [(timedelta(milliseconds=1), 1), (SECOND, 2), (timedelta(seconds=90.5), 91), (5 * MINUTE, 301)],
    ids=str,
)
def test_a_moment_by_a_clock_ahead_of_ours_is_waited_for(harness: RotationHarness, early: timedelta, wait: int) -> None:
    harness.request = Request("prod-a", key_created_after=NOW + early)
    step = harness.start()
    assert (step.status, step.wait_seconds) == (Status.START_AGAIN, wait)
    assert step.rotation.detail == "Waiting for the moment after which the key is to be made."
    assert (harness.ledger.items, harness.cluster.calls) == ({}, [])
    harness.clock.advance(wait)
    assert harness.start().status is Status.CHECK_AGAIN


def test_a_moment_that_is_now_is_not_waited_for(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_created_after=NOW)
    assert harness.start().status is Status.CHECK_AGAIN


def test_a_dry_run_does_not_wait_for_the_moment(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_created_after=NOW + MINUTE, dry_run=True)
    assert harness.start().rotation.outcome is Outcome.PLANNED


@pytest.mark.parametrize("force", [False, True])
def test_a_moment_ahead_stated_twice_before_it_comes_rotates_once(harness: RotationHarness, *, force: bool) -> None:
    harness.request = Request("prod-a", key_created_after=NOW + 4 * MINUTE, force=force, reason="test")
    assert harness.run().outcome is Outcome.ROTATED
    assert harness.another(OTHER_ARN).run().outcome is Outcome.NOT_DUE
    assert harness.cluster.rekeys == 1


# --- waiting for one's turn ---


def test_a_cluster_that_another_execution_holds_is_waited_for_without_a_look(harness: RotationHarness) -> None:
    harness.ledger.take_lock("prod-a", Lock(OTHER_ARN, NOW + HOUR), NOW)
    step = harness.start()
    assert (step.status, step.wait_seconds) == (Status.START_AGAIN, 5)
    assert OTHER_ARN in step.rotation.detail
    assert harness.cluster.calls == []


def test_the_wait_for_ones_turn_grows(harness: RotationHarness) -> None:
    harness.ledger.take_lock("prod-a", Lock(OTHER_ARN, NOW + HOUR), NOW)
    harness.clock.advance(400)
    assert harness.start().wait_seconds == 100


def test_the_wait_for_ones_turn_ends_at_the_deadline(harness: RotationHarness) -> None:
    harness.clock.now = NOW + SETTINGS.deadline
    harness.ledger.take_lock("prod-a", Lock(OTHER_ARN, harness.clock.now + HOUR), NOW)
    with pytest.raises(ClusterBusy) as caught:
        harness.start()
    assert OTHER_ARN in caught.value.what
    assert caught.value.cluster == "prod-a"


def test_a_lease_that_ran_out_is_taken_over_and_its_rekey_followed_and_not_repeated(harness: RotationHarness) -> None:
    harness.start()
    harness.clock.advance(SETTINGS.lease.total_seconds())
    second = harness.another(OTHER_ARN)
    step = second.start()
    assert step.status is Status.CHECK_AGAIN
    assert step.rotation.following
    assert not step.rotation.following.ours
    assert step.rotation.detail == "Following rekey 7, begun by somebody else."
    assert harness.cluster.rekeys == 1


# --- dry run ---


def dry(**changes: object) -> Request:
    return replace(Request("prod-a", dry_run=True), **changes)  # type: ignore[arg-type]  # members of Request


def test_a_dry_run_says_what_it_would_do_and_changes_nothing_but_its_record(harness: RotationHarness) -> None:
    harness.request = dry(ignore_faults=("nodeOffline",))
    harness.cluster.current_faults = (ClusterFault("nodeOffline"),)
    step = harness.start()
    assert (step.status, step.rotation.outcome) == (Status.PUBLISH, Outcome.PLANNED)
    assert step.rotation.detail == "Would replace the current key in spite of nodeOffline."
    assert harness.cluster.rekeys == 0
    assert list(harness.ledger.items) == [f"ROTATION#{harness.execution.id}"], "no lock, no memory"


def test_a_dry_run_needs_no_lock(harness: RotationHarness) -> None:
    harness.ledger.take_lock("prod-a", Lock(OTHER_ARN, NOW + HOUR), NOW)
    harness.request = dry()
    assert harness.start().rotation.outcome is Outcome.PLANNED
    assert harness.ledger.lock("prod-a") == Lock(OTHER_ARN, NOW + HOUR)


def test_a_dry_run_would_follow_a_running_rekey(harness: RotationHarness) -> None:
    harness.cluster.begin()
    harness.request = dry()
    step = harness.start()
    assert (step.rotation.outcome, step.rotation.detail) == (
        Outcome.PLANNED,
        "Would follow rekey 7, which is running already.",
    )
    assert step.rotation.following is None


def test_a_dry_run_on_a_young_key_says_so(harness: RotationHarness) -> None:
    harness.request = dry(key_created_after=NOW - 500 * DAY)
    assert harness.start().rotation.outcome is Outcome.NOT_DUE


def test_a_dry_run_on_a_cooling_key_says_so(harness: RotationHarness) -> None:
    harness.cluster.key = key("key-0", NOW - HOUR)
    harness.request = dry(cool_down_seconds=7200)
    assert harness.start().rotation.outcome is Outcome.COOLING_DOWN


def test_a_dry_run_on_an_unfit_cluster_fails_as_the_rotation_would(harness: RotationHarness) -> None:
    harness.cluster.pending_version = "12.9.1"
    harness.request = dry()
    with pytest.raises(UpgradePending):
        harness.start()


def test_a_dry_run_names_the_moment_the_key_was_made(harness: RotationHarness) -> None:
    harness.cluster.key = key("key-1", NOW - DAY)
    harness.request = scheduled(dry_run=True)
    step = harness.start()
    assert (step.rotation.outcome, step.rotation.detail) == (Outcome.NOT_DUE, f"The current key was made at {MADE}.")


def test_a_dry_run_names_the_moment_the_key_has_cooled_down(harness: RotationHarness) -> None:
    harness.cluster.key = key("key-1", NOW - MINUTE)
    harness.request = Request("prod-a", dry_run=True, cool_down_seconds=3600)
    step = harness.start()
    expected = (Outcome.COOLING_DOWN, "Would not rotate before 2026-11-23 03:59:00 UTC.")
    assert (step.rotation.outcome, step.rotation.detail) == expected


# --- certificates ---


OWN = Certificate(CertificateOf.CLUSTER, "aa", NOW + 70 * DAY)
SERVERS = (Certificate(CertificateOf.KEY_SERVER_CLIENT, "bb", NOW + 20 * DAY, 1),)


def test_the_certificates_of_the_cluster_and_of_the_provider_in_use_are_kept(outside: RotationHarness) -> None:
    outside.cluster.presented = OWN
    outside.cluster.server_certificates = {15: SERVERS, 16: (OWN,)}
    outside.request = Request("prod-a", key_management_type=KeyManagementType.INTERNAL)
    assert outside.start().rotation.certificates == (OWN, *SERVERS)
    memory = outside.ledger.memory("prod-a")
    assert memory
    assert memory.certificates == (OWN, *SERVERS)
    outside.cluster.finish()
    outside.check()
    assert outside.record().certificates == (OWN, *SERVERS)
    remembered = outside.ledger.memory("prod-a")
    assert remembered
    assert (remembered.key_id, remembered.certificates) == ("key-1", (OWN, *SERVERS))


def test_an_internal_key_has_no_key_server(harness: RotationHarness) -> None:
    harness.cluster.presented = OWN
    harness.cluster.server_certificates = {15: SERVERS}
    harness.cluster.providers = (KeyProvider(15, (1,)),)
    harness.request = Request("prod-a", key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15)
    assert harness.start().rotation.certificates == (OWN,)
    assert "key_server_certificates" not in harness.cluster.calls


@pytest.mark.parametrize(
    "error",
    [
        AnswerNotUnderstood("Odd."),
        ClusterUnavailable("Reset."),
        ElementApiError("Answered with xAssumed.", name="xAssumed"),
        PermissionDenied("Denied."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_certificates_that_cannot_be_read_stand_in_no_rotations_way(
    outside: RotationHarness, error: ElementRekeyError
) -> None:
    outside.cluster.failing = {"key_server_certificates": [error] * 2}
    outside.ledger.remember("prod-a", replace(SEEN, certificates=(OWN, *SERVERS)))
    step = outside.start()
    assert step.status is Status.CHECK_AGAIN
    assert step.rotation.certificates == SERVERS
    assert outside.cluster.rekeys == 1


def test_a_whole_bundle_of_authorities_makes_no_record_that_cannot_be_written(outside: RotationHarness) -> None:
    many = tuple(
        Certificate(CertificateOf.KEY_SERVER, f"{number:064}", NOW + (9000 - number) * DAY if number % 2 else None, 1)
        for number in range(9000)
    )
    outside.cluster.server_certificates = {15: (*many, many[1])}
    outside.start()
    memory = outside.ledger.memory("prod-a")
    assert memory
    assert memory.certificates == tuple(reversed(many[-199::2]))
    assert outside.record().certificates == memory.certificates
    assert size_in_bytes(encode(memory)) < LARGEST_RECORD


def test_what_refuses_every_call_refuses_this_one_too(outside: RotationHarness) -> None:
    outside.cluster.failing = {"key_server_certificates": [CredentialsRefused("HTTP 401.")]}
    with pytest.raises(CredentialsRefused):
        outside.start()


# --- after somebody else's rekey was followed ---


def test_a_followed_job_that_met_the_demand_is_reported_as_followed(harness: RotationHarness) -> None:
    harness.cluster.begin()
    harness.request = Request("prod-a", key_created_after=NOW - HOUR)
    assert harness.run().outcome is Outcome.FOLLOWED
    assert harness.record().change
    assert harness.cluster.rekeys == 1


def test_a_followed_job_that_did_not_meet_the_demand_is_followed_by_our_own(harness: RotationHarness) -> None:
    harness.cluster.begin()
    harness.clock.advance(5)
    asked = harness.another(OTHER_ARN, key_created_after=NOW + SECOND)
    assert asked.run().outcome is Outcome.ROTATED
    assert harness.cluster.rekeys == 2


def test_a_followed_job_that_met_the_demand_with_an_error_is_reported_with_it(harness: RotationHarness) -> None:
    """Also where the cluster shows the job no more; only the record still has its error."""
    harness.request = Request("prod-a", key_created_after=NOW - HOUR)
    harness.start()
    harness.cluster.finish()
    harness.change_record(
        following=None, intent=None, change=change(ours=False, new_key=key("key-1", NOW), job_error=BROKEN)
    )
    step = harness.start()
    assert (step.status, step.rotation.outcome) == (Status.PUBLISH, Outcome.ROTATED_WITH_ERROR)
    assert step.rotation == harness.record()
    assert step.rotation.failure
    assert step.rotation.failure.error == "RekeyEndedWithError"


def test_somebody_elses_rekey_that_ended_with_an_error_while_it_was_followed_is_reported_with_it(
    harness: RotationHarness,
) -> None:
    harness.request = Request("prod-a", key_created_after=NOW - HOUR)
    harness.cluster.begin()
    harness.start()
    harness.clock.advance(40)
    harness.cluster.finish(BROKEN)
    assert harness.check().status is Status.START_AGAIN
    step = harness.start()
    assert (step.status, step.rotation.outcome) == (Status.PUBLISH, Outcome.ROTATED_WITH_ERROR)
    assert step.rotation.change
    assert (step.rotation.change.ours, step.rotation.change.job_error) == (False, BROKEN)
    memory = harness.ledger.memory("prod-a")
    assert memory
    assert (memory.key_id, memory.key_seen_at, memory.reported_error_of) == ("key-1", harness.clock.now, 7)


def left_with_an_error(harness: RotationHarness) -> RotationHarness:
    """A rekey nobody follows made the current key and ended with an error."""
    harness.request = Request("prod-a", key_created_after=NOW - HOUR)
    harness.cluster.begin()
    harness.clock.advance(40)
    harness.cluster.finish(BROKEN)
    return harness


def test_the_error_of_a_rekey_that_nobody_followed_is_reported_once(harness: RotationHarness) -> None:
    first = left_with_an_error(harness).start()
    assert (first.status, first.rotation.outcome) == (Status.PUBLISH, Outcome.ROTATED_WITH_ERROR)
    assert first.rotation == harness.record()
    assert first.rotation.failure
    assert first.rotation.failure.error == "RekeyEndedWithError"
    assert "xAssumed: Out of entropy." in first.rotation.failure.cause
    assert main_memory(harness.ledger) == replace(
        SEEN, key_id="key-1", key_seen_at=harness.clock.now, reported_error_of=7
    )
    assert harness.start() == replace(first, wait_seconds=0), "repeated"
    harness.publish()
    harness.clock.advance(60)
    second = harness.another(OTHER_ARN)
    assert second.start().rotation.outcome is Outcome.NOT_DUE
    assert harness.cluster.rekeys == 1


def test_a_dry_run_names_the_error_and_leaves_publishing_it_to_a_real_one(harness: RotationHarness) -> None:
    left_with_an_error(harness)
    dry_run = harness.another(OTHER_ARN, dry_run=True).start().rotation
    assert dry_run.outcome is Outcome.NOT_DUE
    assert dry_run.detail.startswith("The current key is recent enough, but: Key key-1 is current, but the rekey that")
    assert harness.ledger.memory("prod-a") is None
    assert harness.start().rotation.outcome is Outcome.ROTATED_WITH_ERROR


def test_a_key_that_was_made_after_the_followed_job_is_not_reported_as_its_work(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_created_after=NOW - HOUR)
    harness.start()
    harness.cluster.finish()
    harness.change_record(following=None, intent=None, change=change(ours=False, new_key=key("key-x", NOW)))
    harness.start()
    assert harness.record().outcome is Outcome.NOT_DUE
    assert harness.record().change is None


def test_a_rekey_that_was_followed_is_reported_with_when_its_key_was_made(harness: RotationHarness) -> None:
    harness.cluster.begin()
    harness.clock.advance(1)
    harness.request = Request("prod-a", trigger=Trigger.SCHEDULE, key_created_after=NOW - HOUR)
    ended = harness.run()
    assert ended.outcome is Outcome.FOLLOWED
    assert ended.detail == "Somebody else's rekey made the current key at 2026-11-23 03:00:00 UTC."


# --- every write may get lost ---


@pytest.mark.parametrize("method", ["take_lock", "save_intent", "save", "remember", "memory", "rotation"])
@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
def test_a_start_that_breaks_at_the_ledger_can_be_repeated_and_rotates_once(
    harness: RotationHarness, method: str, *, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(harness.ledger, method)

    def broken(*arguments: object) -> object:
        monkeypatch.setattr(harness.ledger, method, real)
        if written:
            real(*arguments)
        raise AwsCallFailed("DynamoDB did not answer.")

    monkeypatch.setattr(harness.ledger, method, broken)
    with pytest.raises(AwsCallFailed):
        harness.start()
    assert harness.run().outcome is Outcome.ROTATED
    assert harness.cluster.rekeys == 1
    assert len(harness.topic.published) == 1


# --- what is looked at, and what is said of it ---


def test_no_result_is_asked_for_where_none_is_listed(harness: RotationHarness) -> None:
    harness.start()
    assert "rekey_job" not in harness.cluster.calls


def test_a_provider_that_is_not_there_is_named(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15)
    with pytest.raises(KeyProviderUnusable, match=r"with keyProviderID 15\."):
        harness.start()


def test_faults_in_spite_of_which_a_key_is_replaced_are_listed(harness: RotationHarness) -> None:
    harness.cluster.current_faults = (ClusterFault("nodeOffline"), ClusterFault("blocksDegraded"))
    harness.request = Request("prod-a", trigger=Trigger.ALARM, reason="alarm", key_created_after=NOW)
    assert harness.start().rotation.detail == "Replacing key key-0 in spite of blocksDegraded, nodeOffline."


def test_an_end_that_is_well_keeps_no_failure_of_a_look_before_it(harness: RotationHarness) -> None:
    harness.cluster.key = key("key-1", NOW - DAY)
    harness.request = scheduled()
    harness.ledger.save(rotation(request=harness.request, failure=Failure("RekeyFailed", "It failed.", "Mend it.")))
    step = harness.start()
    assert (step.rotation.outcome, step.rotation.failure) == (Outcome.NOT_DUE, None)
