from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from element_rekey import rotation
from element_rekey.errors import (
    AwsCallFailed,
    ClusterIdentityChanged,
    ClusterUnavailable,
    LedgerConflict,
    RekeyEndedWithError,
    RekeyFailed,
    RekeyOutcomeUnknown,
    RequestInvalid,
    RotationNotProven,
    RotationOverdue,
    RotationUndone,
)
from element_rekey.model import (
    ClusterMemory,
    ElementError,
    Execution,
    Failure,
    KeyManagementType,
    KeyProvider,
    Lock,
    Outcome,
    Request,
    Rotation,
)
from element_rekey.rotation import Status
from tests.fakes import NOW, SETTINGS
from tests.unit.samples import ARN, DAY, HOUR, OTHER_ARN, execution, external
from tests.unit.world import World

BROKEN = ElementError("xAssumed", "Out of entropy.")
LATER = NOW + timedelta(seconds=40)
PROVEN = ClusterMemory("uuid-of-prod-a", "key-1", key_made_after=NOW, key_seen_at=LATER)


@pytest.fixture
def world() -> World:
    """A rekey of ours has run for 40 seconds."""
    begun = World()
    begun.start()
    begun.clock.pass_seconds(40)
    return begun


def test_a_running_rekey_is_waited_for_and_the_lock_renewed_beyond_the_wait(world: World) -> None:
    step = world.check()
    assert (step.status, step.wait_seconds) == (Status.RUNNING, 10)
    assert (step.rotation.polls, step.rotation.detail) == (1, "CreateNewMasterKey")
    assert world.record() == step.rotation
    lock = world.ledger.lock("prod-a")
    assert lock
    assert (lock.lease_until - world.clock.now - SETTINGS.lease).total_seconds() == 10


def test_where_the_cluster_names_no_phase_the_last_word_stays(world: World) -> None:
    world.cluster.jobs[7] = replace(world.cluster.jobs[7], phase="")
    assert world.check().rotation.detail == "Replacing key key-0."


def test_a_finished_rekey_is_proven_written_down_and_remembered(world: World) -> None:
    world.cluster.finish()
    step = world.check()
    assert (step.status, step.rotation.outcome) == (Status.ENDED, Outcome.ROTATED)
    record = world.record()
    assert record.change
    assert (record.change.old_key.key_id, record.change.new_key.key_id) == ("key-0", "key-1")
    assert record.detail == "Key key-0 was replaced by key-1."
    assert record.current_key == world.cluster.key
    assert world.ledger.memory("prod-a") == PROVEN


def test_a_repeated_check_after_the_end_does_not_look_again(world: World) -> None:
    world.cluster.finish()
    world.check()
    world.cluster.calls.clear()
    again = world.check()
    assert (again.status, again.rotation.outcome) == (Status.ENDED, Outcome.ROTATED)
    assert world.cluster.calls == []


def test_a_check_of_nothing_that_was_begun_is_a_conflict(world: World) -> None:
    world.execution = execution(arn=OTHER_ARN)
    with pytest.raises(LedgerConflict):
        world.check()


def test_an_earlier_execution_of_the_same_name_is_not_mistaken_for_ours(world: World) -> None:
    world.execution = Execution(ARN, NOW + 91 * DAY)
    before = world.record()
    world.cluster.calls.clear()
    with pytest.raises(
        RequestInvalid, match="An execution of this name ran on 2026-11-23; choose another name"
    ) as caught:
        world.check()
    assert caught.value.cluster == "prod-a"
    assert world.cluster.calls == []
    assert world.record() == before


def test_a_record_without_a_request_is_a_conflict(world: World) -> None:
    world.execution = execution(arn=OTHER_ARN)
    world.ledger.save(Rotation(world.execution))
    with pytest.raises(LedgerConflict):
        world.check()


def test_a_check_whose_answer_was_lost_at_a_replan_replans_again(world: World) -> None:
    world.change_record(following=None)
    assert world.check().status is Status.REPLAN


def test_a_lock_that_somebody_took_over_is_no_reason_to_stop_looking(world: World) -> None:
    world.clock.pass_seconds(SETTINGS.lease.total_seconds())
    theirs = Lock(OTHER_ARN, world.clock.now + HOUR)
    world.ledger.take_lock("prod-a", theirs, world.clock.now)
    world.cluster.finish()
    assert world.check().rotation.outcome is Outcome.ROTATED
    assert world.ledger.lock("prod-a") == theirs


def test_another_cluster_at_the_address_is_not_mistaken_for_ours(world: World) -> None:
    world.cluster.finish()
    world.cluster.uuid = "another"
    with pytest.raises(ClusterIdentityChanged) as caught:
        world.check()
    assert "another" in caught.value.what
    assert "uuid-of-prod-a" in caught.value.what
    assert caught.value.cluster == "prod-a"
    assert world.record().outcome is None


def test_our_rekey_that_failed_is_reported_and_the_poll_is_counted(world: World) -> None:
    world.cluster.finish(BROKEN, replaced=False)
    with pytest.raises(RekeyFailed) as caught:
        world.check()
    assert caught.value.cluster == "prod-a"
    assert world.record().polls == 1


def written(world: World) -> Failure:
    failure = world.record().failure
    assert failure
    return failure


def test_a_failure_is_written_down_before_it_is_raised(world: World) -> None:
    """Whoever closes the rotation may know no more than that it broke."""
    world.cluster.finish(BROKEN, replaced=False)
    with pytest.raises(RekeyFailed) as caught:
        world.check()
    assert written(world) == Failure("RekeyFailed", caught.value.what, RekeyFailed.next_step)
    assert world.record().outcome is None, "whether it is the last word is not this step's to say"


def test_a_failure_that_a_later_look_does_not_find_is_forgotten(world: World) -> None:
    key = world.cluster.key
    world.cluster.before = {"encryption": lambda: setattr(world.cluster, "key", None)}
    with pytest.raises(RotationNotProven):
        world.check()
    assert written(world).error == "RotationNotProven"
    world.cluster.key = key
    world.check()
    assert world.record().failure is None


def test_a_failure_that_a_proof_follows_is_forgotten(world: World) -> None:
    world.cluster.finish()
    new = world.cluster.key
    world.cluster.key = external("key-x")
    with pytest.raises(RotationNotProven):
        world.check()
    assert written(world).error == "RotationNotProven"
    world.cluster.key = new
    assert world.check().rotation.outcome is Outcome.ROTATED
    assert world.record().failure is None


def test_a_rekey_that_failed_after_the_change_of_keys_ends_the_rotation_with_its_error_written_down(
    world: World,
) -> None:
    world.cluster.finish(BROKEN)
    step = world.check()
    assert (step.status, step.rotation.outcome) == (Status.ENDED, Outcome.ROTATED_WITH_ERROR)
    assert step.rotation == world.record()
    change = world.record().change
    assert change
    assert (change.own, change.job_error) == (True, BROKEN)
    assert written(world).error == "RekeyEndedWithError"
    assert written(world).next_step == RekeyEndedWithError.next_step
    assert "Key key-1 is current" in written(world).cause
    assert "xAssumed: Out of entropy." in written(world).cause
    assert world.ledger.memory("prod-a") == replace(PROVEN, told_error_of=7)


def test_a_repeated_check_after_an_end_with_an_error_does_not_look_again(world: World) -> None:
    world.cluster.finish(BROKEN)
    first = world.check()
    world.cluster.calls.clear()
    for again in (world.check(), world.start()):
        assert (again.status, again.rotation) == (Status.ENDED, first.rotation)
    assert world.cluster.calls == []


def test_an_end_with_an_error_is_not_lost_where_the_memory_cannot_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cluster.finish(BROKEN)

    def broken(*_: object) -> None:
        raise AwsCallFailed("DynamoDB did not answer.")

    monkeypatch.setattr(world.ledger, "remember", broken)
    with pytest.raises(AwsCallFailed):
        world.check()
    assert world.check().rotation.outcome is Outcome.ROTATED_WITH_ERROR


def test_an_error_whose_result_was_read_away_since_names_no_rekey_that_was_reported_of(world: World) -> None:
    world.cluster.finish(BROKEN)
    world.cluster.handle = None
    assert world.check().rotation.outcome is Outcome.ROTATED_WITH_ERROR
    assert world.ledger.memory("prod-a") == PROVEN


def test_a_rekey_of_another_kind_than_asked_for_is_not_proven() -> None:
    world = World(request=Request("prod-a", key_management_type=KeyManagementType.INTERNAL))
    world.cluster.key = external()
    world.start()
    job = world.cluster.jobs[7]
    assert job.new_key
    world.cluster.jobs[7] = replace(job, new_key=replace(external(), key_id="key-1"))
    world.cluster.finish()
    with pytest.raises(RotationNotProven, match="not as asked"):
        world.check()


def test_a_cluster_that_names_no_key_keeps_the_key_last_seen(world: World) -> None:
    world.cluster.before = {"encryption": lambda: setattr(world.cluster, "key", None)}
    with pytest.raises(RotationNotProven):
        world.check()
    assert world.record().current_key
    assert world.record().polls == 1


def test_at_the_deadline_a_running_rekey_is_overdue_and_still_written_down(world: World) -> None:
    world.clock.now = NOW + SETTINGS.deadline
    with pytest.raises(RotationOverdue) as caught:
        world.check()
    assert "Rekey 7 still runs after 6:00:00" in caught.value.what
    assert world.record().polls == 1


def test_the_last_wait_before_the_deadline_does_not_reach_far_beyond_it(world: World) -> None:
    world.clock.now = NOW + SETTINGS.deadline
    world.clock.pass_seconds(-100)
    assert world.check().wait_seconds == 100


def test_a_rekey_found_finished_at_the_deadline_is_rotated_and_not_overdue(world: World) -> None:
    world.clock.now = NOW + SETTINGS.deadline
    world.cluster.finish()
    assert world.check().rotation.outcome is Outcome.ROTATED


def test_a_handle_that_is_not_visible_yet_is_waited_for(world: World) -> None:
    job = world.cluster.jobs.pop(7)
    world.check()
    following = world.record().following
    assert following
    assert following.unseen_since == world.clock.now
    world.clock.pass_seconds(10)
    world.check()
    again = world.record().following
    assert again
    assert again.unseen_since == following.unseen_since, "since the first time"
    world.cluster.jobs[7] = job
    world.check()
    seen = world.record().following
    assert seen
    assert seen.unseen_since is None


def test_our_own_handle_that_never_shows_is_waited_for_until_the_deadline(world: World) -> None:
    world.cluster.jobs.pop(7)
    world.check()
    world.clock.pass_seconds(3 * SETTINGS.settling.total_seconds())
    assert world.check().status is Status.RUNNING


def test_a_foreign_handle_that_never_shows_is_disregarded_after_the_settling_time() -> None:
    world = World()
    world.cluster.handle = 3  # a leftover whose result cannot be read
    world.start()
    world.check()
    world.clock.pass_seconds(SETTINGS.settling.total_seconds())
    step = world.check()
    assert step.status is Status.REPLAN
    assert step.rotation.disregarded_handle == 3
    assert step.rotation.following is None
    assert world.start().status is Status.RUNNING
    assert world.cluster.rekeys == 1


def test_a_result_that_was_read_away_is_proven_by_the_state(world: World) -> None:
    world.cluster.finish()
    world.cluster.jobs.clear()
    world.cluster.handle = None
    step = world.check()
    assert step.rotation.outcome is Outcome.ROTATED
    assert step.rotation.change
    assert not step.rotation.change.job_result_read


def test_a_result_that_is_gone_with_the_old_key_still_current_proves_nothing(world: World) -> None:
    world.cluster.jobs.clear()
    world.cluster.handle = None
    assert world.check().status is Status.RUNNING
    world.clock.pass_seconds(SETTINGS.settling.total_seconds())
    with pytest.raises(RekeyOutcomeUnknown, match="result is gone"):
        world.check()
    assert written(world).error == "RekeyOutcomeUnknown"


def superseded(world: World) -> None:
    """Our rekey completes, and another one after it."""
    world.cluster.finish()
    world.cluster.begin()
    world.cluster.finish()


def test_a_rekey_that_was_superseded_is_planned_anew_and_what_it_did_is_kept(world: World) -> None:
    superseded(world)
    step = world.check()
    assert step.status is Status.REPLAN
    assert (step.rotation.intent, step.rotation.following) == (None, None)
    assert step.rotation.detail == "Another rekey came after the one that was followed."
    assert step.rotation == world.record()
    change = step.rotation.change
    assert change
    assert (change.own, change.old_key.key_id, change.new_key.key_id) == (True, "key-0", "key-1")


def test_a_superseded_rekey_of_ours_is_reported_as_rotated(world: World) -> None:
    superseded(world)
    world.check()
    step = world.start()
    assert (step.status, step.rotation.outcome) == (Status.ENDED, Outcome.ROTATED)
    assert step.rotation.detail == (
        "Key key-0 was replaced by key-1. "
        "Another rekey came after it and made the current key at 2026-11-23 03:00:40 UTC."
    )
    assert step.rotation.change
    assert step.rotation.change.new_key.key_id == "key-1"
    assert step.rotation.current_key == world.cluster.key
    assert world.cluster.rekeys == 2, "ours and the other one"


def test_a_rekey_of_ours_that_somebody_undoes_is_reported_and_not_repeated(world: World) -> None:
    world.request = Request("prod-a", key_management_type=KeyManagementType.INTERNAL)
    world.change_record(request=world.request)
    world.cluster.finish()
    world.cluster.begin(KeyManagementType.EXTERNAL, 5)
    world.cluster.providers = (KeyProvider(5, "kmip", (1,)),)
    world.cluster.finish()
    world.check()
    with pytest.raises(RotationUndone) as caught:
        world.start()
    assert str(caught.value).startswith(
        "Cluster prod-a: Key key-0 was replaced by key-1. "
        "Another rekey came after it, and its key key-2 is not as asked."
    )
    assert written(world).error == "RotationUndone"
    assert world.record().current_key == world.cluster.key
    assert world.cluster.rekeys == 2, "ours and the other one"
    told = world.publish(written(world)).rotation
    assert told.outcome is Outcome.OUTCOME_UNKNOWN
    assert told.change
    assert told.change.new_key.key_id == "key-1"


def test_what_our_rekey_did_is_kept_through_following_the_ones_that_came_after(world: World) -> None:
    superseded(world)
    world.cluster.begin()
    world.check()
    following = world.start().rotation.following
    assert following
    assert (following.async_handle, following.own) == (9, False)
    world.clock.pass_seconds(40)
    world.cluster.finish()
    step = world.check()
    assert step.status is Status.REPLAN
    assert step.rotation.change
    assert (step.rotation.change.own, step.rotation.change.new_key.key_id) == (True, "key-1")
    assert world.start().rotation.outcome is Outcome.ROTATED
    assert "key-0 was replaced by key-1. Another rekey came after it" in world.record().detail


def test_a_superseded_rekey_of_ours_and_an_error_of_the_other_one_are_reported_together(world: World) -> None:
    world.cluster.finish()
    world.cluster.begin()
    world.cluster.finish(BROKEN)
    world.check()
    step = world.start()
    assert (step.status, step.rotation.outcome) == (Status.ENDED, Outcome.ROTATED_WITH_ERROR)
    assert "Key key-2 is current" in written(world).cause
    assert step.rotation.change
    assert step.rotation.change.new_key.key_id == "key-1"


def test_somebody_elses_rekey_that_ended_is_planned_anew() -> None:
    world = World()
    world.cluster.begin()
    world.start()
    world.clock.pass_seconds(40)
    world.cluster.finish()
    step = world.check()
    assert step.status is Status.REPLAN
    assert step.rotation.change
    assert step.rotation.detail == "Somebody else's rekey made key key-1."
    assert not step.rotation.change.own
    assert world.ledger.memory("prod-a") == ClusterMemory("uuid-of-prod-a", "key-0"), "nobody saw when it was begun"


def test_a_record_that_follows_our_rekey_without_its_intent_still_ends_well(world: World) -> None:
    world.change_record(intent=None)
    world.cluster.finish()
    assert world.check().rotation.outcome is Outcome.ROTATED
    assert world.ledger.memory("prod-a") == PROVEN


@pytest.mark.parametrize("method", ["identity", "rekey_job", "encryption"])
def test_a_cluster_that_does_not_answer_is_asked_again(world: World, method: str) -> None:
    world.cluster.finish()
    world.cluster.failing = {method: [ClusterUnavailable("No answer.")]}
    with pytest.raises(ClusterUnavailable):
        world.check()
    assert world.check().rotation.outcome is Outcome.ROTATED


@pytest.mark.parametrize("method", ["take_lock", "save", "remember", "rotation"])
@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
def test_a_check_that_breaks_at_the_ledger_can_be_repeated(
    world: World, method: str, *, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cluster.finish()
    real = getattr(world.ledger, method)

    def broken(*arguments: object) -> object:
        monkeypatch.setattr(world.ledger, method, real)
        if written:
            real(*arguments)
        raise AwsCallFailed("DynamoDB did not answer.")

    monkeypatch.setattr(world.ledger, method, broken)
    with pytest.raises(AwsCallFailed):
        world.check()
    assert world.check().rotation.outcome is Outcome.ROTATED
    assert world.ledger.memory("prod-a") == PROVEN


def test_a_verdict_that_nobody_thought_of_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "judge", lambda *_: object())
    with pytest.raises(AssertionError):
        world.check()
    assert world.record().outcome is None


def test_two_checks_at_once_cannot_both_write(world: World) -> None:
    """The second one reads, the first one ends the rotation, the second one writes."""
    world.cluster.finish()
    world.cluster.before = {"encryption": world.check}
    with pytest.raises(LedgerConflict):
        world.check()
    assert world.record().outcome is Outcome.ROTATED
    assert world.record().execution.id == ARN
