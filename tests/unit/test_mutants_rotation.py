"""What changes to the three steps went unnoticed by their own tests: docs/mutation.md."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from element_rekey.errors import (
    ElementRekeyError,
    KeyProviderUnusable,
    LedgerConflict,
    RekeyOutcomeUnknown,
    RekeyRefused,
    RotationOverdue,
)
from element_rekey.model import ClusterFault, Failure, Intent, KeyManagementType, Outcome, Request, Trigger
from element_rekey.rotation import Status, conclude
from tests.fakes import NOW, SETTINGS
from tests.unit.samples import ARN, DAY, HOUR, MINUTE, OTHER_ARN, done, execution, key, rotation
from tests.unit.world import World

MADE = "2026-11-22 03:00:00 UTC"
SETTLED = SETTINGS.settling.total_seconds()
REFUSED = RekeyRefused("Answered with xAssumed.", name="xAssumed")


@pytest.fixture
def world() -> World:
    return World()


def lost(world: World) -> Intent:
    """A rekey was sent, its answer was lost and it never arrived."""
    world.cluster.failing = {"rekey": [RekeyOutcomeUnknown("Reset.")]}
    with pytest.raises(RekeyOutcomeUnknown):
        world.start()
    intent = world.record().intent
    assert intent
    return intent


# --- what is looked at, and what is said of it


def test_no_result_is_asked_for_where_none_is_listed(world: World) -> None:
    world.start()
    assert "rekey_job" not in world.cluster.calls


def test_a_provider_that_is_not_there_is_named(world: World) -> None:
    world.request = Request("prod-a", key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15)
    with pytest.raises(KeyProviderUnusable, match=r"with keyProviderID 15\."):
        world.start()


def test_a_rekey_whose_answer_was_lost_says_so_as_long_as_nothing_shows(world: World) -> None:
    lost(world)
    what = "A rekey was sent, its answer was lost, and the cluster does not show yet what became of it."
    with pytest.raises(RekeyOutcomeUnknown) as caught:
        world.start()
    assert (caught.value.what, caught.value.cluster) == (what, "prod-a")


def test_a_rekey_taken_for_the_lost_one_says_so(world: World) -> None:
    world.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        world.start()
    world.cluster.finish()
    world.clock.pass_seconds(SETTLED)
    world.start()
    proof = "Key key-0 was replaced by key-1. The answer to our rekey was lost; this one is taken for it."
    assert world.check().rotation.detail == proof


def test_a_rekey_that_is_listed_and_never_shown_is_reported_as_that_at_the_deadline(world: World) -> None:
    world.start()
    world.cluster.jobs.clear()
    world.clock.now = NOW + SETTINGS.deadline
    with pytest.raises(RotationOverdue) as caught:
        world.check()
    assert caught.value.what == "Rekey 7 is still listed and not shown after 6:00:00."


def test_a_rekey_taken_for_the_lost_one_is_not_overdue_before_it_may_be_judged(world: World) -> None:
    sent = NOW + SETTINGS.deadline - timedelta(seconds=35)
    world.clock.now = sent
    world.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        world.start()
    world.cluster.finish()
    world.start()
    world.clock.now = sent + SETTINGS.settling - timedelta(seconds=20)
    assert (world.check().status, world.check().wait_seconds) == (Status.RUNNING, 20)
    world.clock.pass_seconds(20)
    assert world.check().rotation.outcome is Outcome.ROTATED


# --- an old result on the cluster, and a second attempt


def test_the_result_of_an_earlier_rekey_is_not_taken_for_the_one_that_was_lost(world: World) -> None:
    world.cluster.handle = 5
    world.cluster.jobs[5] = done(key(), key("key-before"), handle=5)
    assert lost(world).baseline_async_result_id == 5
    with pytest.raises(RekeyOutcomeUnknown, match="does not show yet"):
        world.start()
    assert world.record().following is None


@pytest.mark.parametrize("error", [REFUSED, LedgerConflict("Not sent.")], ids=["refused", "not sent"])
def test_a_second_attempt_that_was_not_applied_leaves_the_first_one_open(
    world: World, error: ElementRekeyError
) -> None:
    first = lost(world)
    world.clock.pass_seconds(SETTLED)
    world.cluster.failing = {"rekey": [error]}
    with pytest.raises(type(error)):
        world.start()
    assert world.record().intent == first


# --- what check_status asks, waits for and says


def test_a_check_after_a_replan_hands_on_the_record(world: World) -> None:
    world.start()
    world.change_record(following=None)
    step = world.check()
    assert (step.status, step.rotation) == (Status.REPLAN, world.record())


def test_a_rekey_followed_without_a_handle_is_not_asked_for_its_result(world: World) -> None:
    step = world.start()
    assert step.rotation.following
    world.change_record(following=replace(step.rotation.following, async_handle=None))
    world.cluster.calls.clear()
    assert world.check().status is Status.RUNNING
    assert "rekey_job" not in world.cluster.calls


def test_a_handle_that_is_not_visible_yet_leaves_the_last_word(world: World) -> None:
    world.start()
    world.cluster.jobs.clear()
    assert world.check().rotation.detail == "Replacing key key-0."


def test_a_foreign_handle_that_does_not_show_is_given_the_settling_time_and_then_named(world: World) -> None:
    world.cluster.handle = 3
    world.start()
    assert world.check().status is Status.RUNNING
    world.clock.pass_seconds(SETTLED - 1)
    assert world.check().status is Status.RUNNING
    world.clock.pass_seconds(1)
    step = world.check()
    assert (step.status, step.rotation.detail) == (Status.REPLAN, "The cluster lists rekey 3 but never shows it.")


def test_an_overdue_rekey_names_its_cluster(world: World) -> None:
    world.start()
    world.clock.pass_seconds(SETTINGS.deadline.total_seconds())
    with pytest.raises(RotationOverdue, match=r"Rekey 7 still runs after 6:00:00\.") as caught:
        world.check()
    assert caught.value.cluster == "prod-a"


def test_a_check_of_nothing_says_so(world: World) -> None:
    world.execution = execution(arn=OTHER_ARN)
    with pytest.raises(LedgerConflict, match="There is no record of what this execution follows"):
        world.check()


# --- what an end says


def scheduled(**changes: object) -> Request:
    return replace(
        Request("prod-a", trigger=Trigger.SCHEDULE, key_created_after=NOW - 90 * DAY),
        **changes,  # type: ignore[arg-type]  # members of Request
    )


def test_a_dry_run_names_the_moment_the_key_was_made(world: World) -> None:
    world.cluster.key = key("key-1", NOW - DAY)
    world.request = scheduled(dry_run=True)
    step = world.start()
    assert (step.rotation.outcome, step.rotation.detail) == (Outcome.NOT_DUE, f"The current key was made at {MADE}.")


def test_a_dry_run_names_the_moment_the_key_has_cooled_down(world: World) -> None:
    world.cluster.key = key("key-1", NOW - MINUTE)
    world.request = Request("prod-a", dry_run=True, cool_down_seconds=3600)
    step = world.start()
    expected = (Outcome.COOLING_DOWN, "Would not rotate before 2026-11-23 03:59:00 UTC.")
    assert (step.rotation.outcome, step.rotation.detail) == expected


def test_a_rekey_that_was_followed_is_reported_with_when_its_key_was_made(world: World) -> None:
    world.cluster.begin()
    world.clock.pass_seconds(1)
    world.request = Request("prod-a", trigger=Trigger.SCHEDULE, key_created_after=NOW - HOUR)
    ended = world.run()
    assert ended.outcome is Outcome.FOLLOWED
    assert ended.detail == "Somebody else's rekey made the current key at 2026-11-23 03:00:00 UTC."


def test_an_end_that_is_well_keeps_no_failure_of_a_look_before_it(world: World) -> None:
    world.cluster.key = key("key-1", NOW - DAY)
    world.request = scheduled()
    world.ledger.save(rotation(request=world.request, failure=Failure("RekeyFailed", "It failed.", "Mend it.")))
    step = world.start()
    assert (step.rotation.outcome, step.rotation.failure) == (Outcome.NOT_DUE, None)


def test_faults_in_spite_of_which_a_key_is_replaced_are_listed(world: World) -> None:
    world.cluster.current_faults = (ClusterFault("nodeOffline", "error"), ClusterFault("blocksDegraded", "error"))
    world.request = Request("prod-a", trigger=Trigger.ALARM, reason="alarm", key_created_after=NOW)
    assert world.start().rotation.detail == "Replacing key key-0 in spite of blocksDegraded, nodeOffline."


def test_a_rekey_whose_result_was_read_away_says_what_proves_it(world: World) -> None:
    world.start()
    world.cluster.finish()
    world.cluster.jobs.clear()
    world.cluster.handle = None
    said = "Key key-0 was replaced by key-1. Its result was read away; the cluster's own state shows the change."
    assert world.check().rotation.detail == said


def test_an_execution_without_a_record_is_closed_with_its_request(world: World) -> None:
    world.publish(Failure("RequestInvalid", "It makes no sense.", "Mend it."))
    assert world.record().request == world.request
    assert world.topic.published[0].request == world.request


def test_an_end_without_an_outcome_says_so() -> None:
    _, failure = conclude(rotation(), None)
    assert failure
    assert failure.cause == "The execution ended without an outcome."


def test_whoever_is_reported_twice_knows(world: World) -> None:
    world.start()
    assert world.publish().told_now is True
    assert world.publish().told_now is False
    assert world.record().execution.id == ARN
