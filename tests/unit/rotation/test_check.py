from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from element_rekey.cluster import KeyManagementType, KeyProvider
from element_rekey.errors import (
    AwsCallFailed,
    ClusterIdentityChanged,
    ClusterUnavailable,
    LedgerConflict,
    RekeyEndedWithError,
    RekeyFailed,
    RekeyOutcomeUnknown,
    RotationNotProven,
    RotationOverdue,
    RotationUndone,
)
from element_rekey.outcomes import Outcome
from element_rekey.records import ClusterMemory, Execution, Failure, Lock, Request, Rotation
from element_rekey.rotation.steps import Status
from tests.fakes import NOW, SETTINGS
from tests.unit.harness import RotationHarness
from tests.unit.samples import ARN, BROKEN, DAY, HOUR, OTHER_ARN, execution, external, main_memory

LATER = NOW + timedelta(seconds=40)
PROVEN = ClusterMemory("uuid-of-prod-a", "key-1", key_made_after=NOW, key_seen_at=LATER)


@pytest.fixture
def harness() -> RotationHarness:
    """A rekey of ours has run for 40 seconds."""
    begun = RotationHarness()
    begun.start()
    begun.clock.advance(40)
    return begun


def written(harness: RotationHarness) -> Failure:
    failure = harness.record().failure
    assert failure
    return failure


def superseded(harness: RotationHarness) -> None:
    """Our rekey completes, and another one after it."""
    harness.cluster.finish()
    harness.cluster.begin()
    harness.cluster.finish()


SETTLING_SECONDS = SETTINGS.settling.total_seconds()


@pytest.fixture
def fresh() -> RotationHarness:
    """Nothing was begun."""
    return RotationHarness()


def test_a_running_rekey_is_waited_for_and_the_lock_renewed_beyond_the_wait(harness: RotationHarness) -> None:
    step = harness.check()
    assert (step.status, step.wait_seconds) == (Status.CHECK_AGAIN, 10)
    assert (step.rotation.polls, step.rotation.detail) == (1, "CreateNewMasterKey")
    assert harness.record() == step.rotation
    lock = harness.ledger.lock("prod-a")
    assert lock
    assert (lock.lease_until - harness.clock.now - SETTINGS.lease).total_seconds() == 10


def test_where_the_cluster_names_no_phase_the_last_word_stays(harness: RotationHarness) -> None:
    harness.cluster.jobs[7] = replace(harness.cluster.jobs[7], phase="")
    assert harness.check().rotation.detail == "Replacing key key-0."


def test_a_finished_rekey_is_proven_written_down_and_remembered(harness: RotationHarness) -> None:
    harness.cluster.finish()
    step = harness.check()
    assert (step.status, step.rotation.outcome) == (Status.PUBLISH, Outcome.ROTATED)
    record = harness.record()
    assert record.change
    assert (record.change.old_key.key_id, record.change.new_key.key_id) == ("key-0", "key-1")
    assert record.detail == "Key key-0 was replaced by key-1."
    assert record.current_key == harness.cluster.key
    assert main_memory(harness.ledger) == PROVEN


def test_a_repeated_check_after_the_end_does_not_look_again(harness: RotationHarness) -> None:
    harness.cluster.finish()
    harness.check()
    harness.cluster.calls.clear()
    again = harness.check()
    assert (again.status, again.rotation.outcome) == (Status.PUBLISH, Outcome.ROTATED)
    assert harness.cluster.calls == []


def test_a_check_of_nothing_that_was_begun_is_a_conflict(harness: RotationHarness) -> None:
    harness.execution = execution(arn=OTHER_ARN)
    with pytest.raises(LedgerConflict):
        harness.check()


def test_an_earlier_execution_of_the_same_name_is_not_mistaken_for_ours(harness: RotationHarness) -> None:
    before = harness.record()
    harness.execution = Execution(ARN, NOW + 91 * DAY)
    harness.cluster.calls.clear()
    with pytest.raises(LedgerConflict, match="no record of what this execution follows"):
        harness.check()
    assert harness.cluster.calls == []
    assert harness.ledger.rotation(execution()) == before


def test_a_record_without_a_request_is_a_conflict(harness: RotationHarness) -> None:
    harness.execution = execution(arn=OTHER_ARN)
    harness.ledger.save(Rotation(harness.execution))
    with pytest.raises(LedgerConflict):
        harness.check()


def test_a_check_whose_answer_was_lost_at_a_replan_replans_again(harness: RotationHarness) -> None:
    harness.change_record(following=None)
    assert harness.check().status is Status.START_AGAIN


def test_a_lock_that_somebody_took_over_is_no_reason_to_stop_looking(harness: RotationHarness) -> None:
    harness.clock.advance(SETTINGS.lease.total_seconds())
    theirs = Lock(OTHER_ARN, harness.clock.now + HOUR)
    harness.ledger.take_lock("prod-a", theirs, harness.clock.now)
    harness.cluster.finish()
    assert harness.check().rotation.outcome is Outcome.ROTATED
    assert harness.ledger.lock("prod-a") == theirs


def test_another_cluster_at_the_address_is_not_mistaken_for_ours(harness: RotationHarness) -> None:
    harness.cluster.finish()
    harness.cluster.uuid = "another"
    with pytest.raises(ClusterIdentityChanged) as caught:
        harness.check()
    assert "another" in caught.value.what
    assert "uuid-of-prod-a" in caught.value.what
    assert caught.value.cluster == "prod-a"
    assert harness.record().outcome is None


def test_our_rekey_that_failed_is_reported_and_the_poll_is_counted(harness: RotationHarness) -> None:
    harness.cluster.finish(BROKEN, replaced=False)
    with pytest.raises(RekeyFailed) as caught:
        harness.check()
    assert caught.value.cluster == "prod-a"
    assert harness.record().polls == 1


def test_a_failure_is_written_down_before_it_is_raised(harness: RotationHarness) -> None:
    """Whoever closes the start may know no more than that it broke."""
    harness.cluster.finish(BROKEN, replaced=False)
    with pytest.raises(RekeyFailed) as caught:
        harness.check()
    assert written(harness) == Failure("RekeyFailed", caught.value.what, RekeyFailed.next_step)
    assert harness.record().outcome is None, "whether it is the last word is not this step's to say"


def test_a_failure_that_a_later_look_does_not_find_is_forgotten(harness: RotationHarness) -> None:
    key = harness.cluster.key
    harness.cluster.before = {"encryption": lambda: setattr(harness.cluster, "key", None)}
    kept = harness.cluster.jobs.pop(7)
    with pytest.raises(RotationNotProven):
        harness.check()
    assert written(harness).error == "RotationNotProven"
    harness.cluster.key, harness.cluster.jobs[7] = key, kept
    harness.check()
    assert harness.record().failure is None


def test_a_failure_that_a_proof_follows_is_forgotten(harness: RotationHarness) -> None:
    harness.cluster.finish()
    new = harness.cluster.key
    harness.cluster.key = external("key-x")
    with pytest.raises(RotationNotProven):
        harness.check()
    assert written(harness).error == "RotationNotProven"
    harness.cluster.key = new
    assert harness.check().rotation.outcome is Outcome.ROTATED
    assert harness.record().failure is None


def test_a_rekey_that_failed_after_the_change_of_keys_ends_the_rotation_with_its_error_written_down(
    harness: RotationHarness,
) -> None:
    harness.cluster.finish(BROKEN)
    step = harness.check()
    assert (step.status, step.rotation.outcome) == (Status.PUBLISH, Outcome.ROTATED_WITH_ERROR)
    assert step.rotation == harness.record()
    change = harness.record().change
    assert change
    assert (change.ours, change.job_error) == (True, BROKEN)
    assert written(harness).error == "RekeyEndedWithError"
    assert written(harness).next_step == RekeyEndedWithError.next_step
    assert "Key key-1 is current" in written(harness).cause
    assert "xAssumed: Out of entropy." in written(harness).cause
    assert main_memory(harness.ledger) == replace(PROVEN, reported_error_of=7)


def test_a_repeated_check_after_an_end_with_an_error_does_not_look_again(harness: RotationHarness) -> None:
    harness.cluster.finish(BROKEN)
    first = harness.check()
    harness.cluster.calls.clear()
    for again in (harness.check(), harness.start()):
        assert (again.status, again.rotation) == (Status.PUBLISH, first.rotation)
    assert harness.cluster.calls == []


def test_an_end_with_an_error_is_not_lost_where_the_memory_cannot_be_written(
    harness: RotationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.cluster.finish(BROKEN)

    def broken(*_: object) -> None:
        raise AwsCallFailed("DynamoDB did not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(harness.ledger, "save_seen", broken)
        with pytest.raises(AwsCallFailed):
            harness.check()
    assert harness.record().outcome is None, "both, or neither"
    assert harness.check().rotation.outcome is Outcome.ROTATED_WITH_ERROR


def test_an_error_whose_result_was_read_away_since_names_no_rekey_that_was_reported(
    harness: RotationHarness,
) -> None:
    harness.cluster.finish(BROKEN)
    harness.cluster.handle = None
    assert harness.check().rotation.outcome is Outcome.ROTATED_WITH_ERROR
    assert main_memory(harness.ledger) == PROVEN


def test_a_rekey_of_another_kind_than_asked_for_is_not_proven() -> None:
    harness = RotationHarness(request=Request("prod-a", key_management_type=KeyManagementType.INTERNAL))
    harness.cluster.key = external()
    harness.start()
    harness.cluster.new_keys[7] = replace(external(), key_id="key-1")
    harness.cluster.finish()
    with pytest.raises(RotationNotProven, match="not as asked"):
        harness.check()


def test_a_cluster_that_names_no_key_keeps_the_key_last_seen(harness: RotationHarness) -> None:
    harness.cluster.before = {"encryption": lambda: setattr(harness.cluster, "key", None)}
    assert harness.check().status is Status.CHECK_AGAIN
    assert harness.record().current_key
    assert harness.record().polls == 1


def test_at_the_deadline_a_running_rekey_is_overdue_and_still_written_down(harness: RotationHarness) -> None:
    harness.clock.now = NOW + SETTINGS.deadline
    with pytest.raises(RotationOverdue) as caught:
        harness.check()
    assert "Rekey 7 still runs after 6:00:00" in caught.value.what
    assert harness.record().polls == 1


def test_the_last_wait_before_the_deadline_does_not_reach_far_beyond_it(harness: RotationHarness) -> None:
    harness.clock.now = NOW + SETTINGS.deadline
    harness.clock.advance(-100)
    assert harness.check().wait_seconds == 100


def test_a_rekey_found_finished_at_the_deadline_is_rotated_and_not_overdue(harness: RotationHarness) -> None:
    harness.clock.now = NOW + SETTINGS.deadline
    harness.cluster.finish()
    assert harness.check().rotation.outcome is Outcome.ROTATED


def test_a_handle_that_is_not_visible_yet_is_waited_for(harness: RotationHarness) -> None:
    job = harness.cluster.jobs.pop(7)
    harness.check()
    following = harness.record().following
    assert following
    assert following.not_shown_since == harness.clock.now
    harness.clock.advance(10)
    harness.check()
    again = harness.record().following
    assert again
    assert again.not_shown_since == following.not_shown_since, "since the first time"
    harness.cluster.jobs[7] = job
    harness.check()
    seen = harness.record().following
    assert seen
    assert seen.not_shown_since is None


def test_our_own_handle_that_never_shows_is_waited_for_until_the_deadline(harness: RotationHarness) -> None:
    harness.cluster.jobs.pop(7)
    harness.check()
    harness.clock.advance(3 * SETTINGS.settling.total_seconds())
    assert harness.check().status is Status.CHECK_AGAIN


def test_a_foreign_handle_that_never_shows_is_disregarded_after_the_settling_time() -> None:
    harness = RotationHarness()
    harness.cluster.handle = 3  # a leftover whose result cannot be read
    harness.start()
    harness.check()
    harness.clock.advance(SETTINGS.settling.total_seconds())
    step = harness.check()
    assert step.status is Status.START_AGAIN
    assert step.rotation.disregarded_handle == 3
    assert step.rotation.following is None
    assert harness.start().status is Status.CHECK_AGAIN
    assert harness.cluster.rekeys == 1


def test_a_result_that_was_read_away_is_proven_by_the_state(harness: RotationHarness) -> None:
    harness.cluster.finish()
    harness.cluster.jobs.clear()
    harness.cluster.handle = None
    step = harness.check()
    assert step.rotation.outcome is Outcome.ROTATED
    assert step.rotation.change
    assert not step.rotation.change.job_result_read


def test_a_result_that_is_gone_with_the_old_key_still_current_proves_nothing(harness: RotationHarness) -> None:
    harness.cluster.jobs.clear()
    harness.cluster.handle = None
    assert harness.check().status is Status.CHECK_AGAIN
    harness.clock.advance(SETTINGS.settling.total_seconds())
    with pytest.raises(RekeyOutcomeUnknown, match="result is gone"):
        harness.check()
    assert written(harness).error == "RekeyOutcomeUnknown"


def test_a_rekey_that_was_superseded_is_planned_anew_and_what_it_did_is_kept(harness: RotationHarness) -> None:
    superseded(harness)
    step = harness.check()
    assert step.status is Status.START_AGAIN
    assert (step.rotation.intent, step.rotation.following) == (None, None)
    assert step.rotation.detail == "Another rekey came after the one that was followed."
    assert step.rotation == harness.record()
    change = step.rotation.change
    assert change
    assert (change.ours, change.old_key.key_id, change.new_key.key_id) == (True, "key-0", "key-1")


def test_a_superseded_rekey_of_ours_is_reported_as_rotated(harness: RotationHarness) -> None:
    superseded(harness)
    harness.check()
    step = harness.start()
    assert (step.status, step.rotation.outcome) == (Status.PUBLISH, Outcome.ROTATED)
    assert step.rotation.detail == (
        "Key key-0 was replaced by key-1. "
        "Another rekey came after it and made the current key at 2026-11-23 03:00:40 UTC."
    )
    assert step.rotation.change
    assert step.rotation.change.new_key.key_id == "key-1"
    assert step.rotation.current_key == harness.cluster.key
    assert harness.cluster.rekeys == 2, "ours and the other one"


def test_a_rekey_of_ours_that_somebody_undoes_is_reported_and_not_repeated(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_management_type=KeyManagementType.INTERNAL)
    harness.change_record(request=harness.request)
    harness.cluster.finish()
    harness.cluster.begin(KeyManagementType.EXTERNAL, 5)
    harness.cluster.providers = (KeyProvider(5, (1,)),)
    harness.cluster.finish()
    harness.check()
    with pytest.raises(RotationUndone) as caught:
        harness.start()
    assert str(caught.value).startswith(
        "Cluster prod-a: Key key-0 was replaced by key-1. "
        "Another rekey came after it, and its key key-2 is not as asked."
    )
    assert written(harness).error == "RotationUndone"
    assert harness.record().current_key == harness.cluster.key
    assert harness.cluster.rekeys == 2, "ours and the other one"
    published = harness.publish(written(harness)).rotation
    assert published.outcome is Outcome.OUTCOME_UNKNOWN
    assert published.change
    assert published.change.new_key.key_id == "key-1"


def test_what_our_rekey_did_is_kept_through_following_the_ones_that_came_after(harness: RotationHarness) -> None:
    superseded(harness)
    harness.cluster.begin()
    harness.check()
    following = harness.start().rotation.following
    assert following
    assert (following.async_handle, following.ours) == (9, False)
    harness.clock.advance(40)
    harness.cluster.finish()
    step = harness.check()
    assert step.status is Status.START_AGAIN
    assert step.rotation.change
    assert (step.rotation.change.ours, step.rotation.change.new_key.key_id) == (True, "key-1")
    assert harness.start().rotation.outcome is Outcome.ROTATED
    assert "key-0 was replaced by key-1. Another rekey came after it" in harness.record().detail


def test_a_superseded_rekey_of_ours_and_an_error_of_the_other_one_are_reported_together(
    harness: RotationHarness,
) -> None:
    harness.cluster.finish()
    harness.cluster.begin()
    harness.cluster.finish(BROKEN)
    harness.check()
    step = harness.start()
    assert (step.status, step.rotation.outcome) == (Status.PUBLISH, Outcome.ROTATED_WITH_ERROR)
    assert "Key key-2 is current" in written(harness).cause
    assert step.rotation.change
    assert step.rotation.change.new_key.key_id == "key-1"


def test_somebody_elses_rekey_that_ended_is_planned_anew() -> None:
    harness = RotationHarness()
    harness.cluster.begin()
    harness.start()
    harness.clock.advance(40)
    harness.cluster.finish()
    step = harness.check()
    assert step.status is Status.START_AGAIN
    assert step.rotation.change
    assert step.rotation.detail == "Somebody else's rekey made key key-1."
    assert not step.rotation.change.ours
    assert main_memory(harness.ledger) == ClusterMemory("uuid-of-prod-a", "key-0"), "nobody saw when it was begun"


def test_a_record_that_follows_our_rekey_without_its_intent_still_ends_well(harness: RotationHarness) -> None:
    harness.change_record(intent=None)
    harness.cluster.finish()
    assert harness.check().rotation.outcome is Outcome.ROTATED
    assert main_memory(harness.ledger) == PROVEN


@pytest.mark.parametrize("method", ["identity", "rekey_job", "encryption"])
def test_a_cluster_that_does_not_answer_is_asked_again(harness: RotationHarness, method: str) -> None:
    harness.cluster.finish()
    harness.cluster.failing = {method: [ClusterUnavailable("No answer.")]}
    with pytest.raises(ClusterUnavailable):
        harness.check()
    assert harness.check().rotation.outcome is Outcome.ROTATED


@pytest.mark.parametrize("method", ["take_lock", "save_seen", "rotation"])
@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
def test_a_check_that_breaks_at_the_ledger_can_be_repeated(
    harness: RotationHarness, method: str, *, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.cluster.finish()
    real = getattr(harness.ledger, method)

    def broken(*arguments: object) -> object:
        monkeypatch.setattr(harness.ledger, method, real)
        if written:
            real(*arguments)
        raise AwsCallFailed("DynamoDB did not answer.")

    monkeypatch.setattr(harness.ledger, method, broken)
    with pytest.raises(AwsCallFailed):
        harness.check()
    assert harness.check().rotation.outcome is Outcome.ROTATED
    assert main_memory(harness.ledger) == PROVEN


def test_two_checks_at_once_cannot_both_write(harness: RotationHarness) -> None:
    """The second one reads, the first one ends the start, the second one writes."""
    harness.cluster.finish()
    harness.cluster.before = {"encryption": harness.check}
    with pytest.raises(LedgerConflict):
        harness.check()
    assert harness.record().outcome is Outcome.ROTATED
    assert harness.record().execution.id == ARN


def test_a_rekey_taken_for_the_lost_one_says_so(fresh: RotationHarness) -> None:
    fresh.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        fresh.start()
    fresh.cluster.finish()
    fresh.clock.advance(SETTLING_SECONDS)
    fresh.start()
    proof = "Key key-0 was replaced by key-1. The answer to our rekey was lost; this one is taken for it."
    assert fresh.check().rotation.detail == proof


def test_a_rekey_that_is_listed_and_never_shown_is_reported_as_that_at_the_deadline(fresh: RotationHarness) -> None:
    fresh.start()
    fresh.cluster.jobs.clear()
    fresh.clock.now = NOW + SETTINGS.deadline
    with pytest.raises(RotationOverdue) as caught:
        fresh.check()
    assert caught.value.what == "Rekey 7 is still listed and not shown after 6:00:00."


def test_a_rekey_taken_for_the_lost_one_is_not_overdue_before_it_may_be_verified(fresh: RotationHarness) -> None:
    sent = NOW + SETTINGS.deadline - timedelta(seconds=35)
    fresh.clock.now = sent
    fresh.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        fresh.start()
    fresh.cluster.finish()
    fresh.start()
    fresh.clock.now = sent + SETTINGS.settling - timedelta(seconds=20)
    assert (fresh.check().status, fresh.check().wait_seconds) == (Status.CHECK_AGAIN, 20)
    fresh.clock.advance(20)
    assert fresh.check().rotation.outcome is Outcome.ROTATED


def test_a_check_after_a_replan_hands_on_the_record(fresh: RotationHarness) -> None:
    fresh.start()
    fresh.change_record(following=None)
    step = fresh.check()
    assert (step.status, step.rotation) == (Status.START_AGAIN, fresh.record())


def test_a_rekey_followed_without_a_handle_is_not_asked_for_its_result(fresh: RotationHarness) -> None:
    step = fresh.start()
    assert step.rotation.following
    fresh.change_record(following=replace(step.rotation.following, async_handle=None))
    fresh.cluster.calls.clear()
    assert fresh.check().status is Status.CHECK_AGAIN
    assert "rekey_job" not in fresh.cluster.calls


def test_a_handle_that_is_not_visible_yet_leaves_the_last_word(fresh: RotationHarness) -> None:
    fresh.start()
    fresh.cluster.jobs.clear()
    assert fresh.check().rotation.detail == "Replacing key key-0."


def test_a_foreign_handle_that_does_not_show_is_given_the_settling_time_and_then_named(
    fresh: RotationHarness,
) -> None:
    fresh.cluster.handle = 3
    fresh.start()
    assert fresh.check().status is Status.CHECK_AGAIN
    fresh.clock.advance(SETTLING_SECONDS - 1)
    assert fresh.check().status is Status.CHECK_AGAIN
    fresh.clock.advance(1)
    step = fresh.check()
    assert (step.status, step.rotation.detail) == (Status.START_AGAIN, "The cluster lists rekey 3 but never shows it.")


def test_an_overdue_rekey_names_its_cluster(fresh: RotationHarness) -> None:
    fresh.start()
    fresh.clock.advance(SETTINGS.deadline.total_seconds())
    with pytest.raises(RotationOverdue, match=r"Rekey 7 still runs after 6:00:00\.") as caught:
        fresh.check()
    assert caught.value.cluster == "prod-a"


def test_a_check_of_nothing_says_so(fresh: RotationHarness) -> None:
    fresh.execution = execution(arn=OTHER_ARN)
    with pytest.raises(LedgerConflict, match="There is no record of what this execution follows"):
        fresh.check()


def test_a_rekey_whose_result_was_read_away_says_what_proves_it(fresh: RotationHarness) -> None:
    fresh.start()
    fresh.cluster.finish()
    fresh.cluster.jobs.clear()
    fresh.cluster.handle = None
    said = "Key key-0 was replaced by key-1. Its result was read away; the cluster's own state shows the change."
    assert fresh.check().rotation.detail == said
