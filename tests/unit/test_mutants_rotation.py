"""What changes to the three steps went unnoticed by their own tests: docs/mutation.md."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from element_rekey.cluster import ClusterFault, KeyManagementType
from element_rekey.errors import (
    ElementRekeyError,
    KeyProviderUnusable,
    LedgerConflict,
    RekeyOutcomeUnknown,
    RekeyRefused,
    RotationOverdue,
)
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import Failure, Intent, Request
from element_rekey.rotation.steps import Status
from element_rekey.rules.closing import outcome_of
from tests.fakes import NOW, SETTINGS
from tests.unit.harness import RotationHarness
from tests.unit.samples import ARN, DAY, HOUR, MINUTE, OTHER_ARN, done, execution, key, rotation

MADE = "2026-11-22 03:00:00 UTC"
SETTLED = SETTINGS.settling.total_seconds()
REFUSED = RekeyRefused("Answered with xAssumed.", name="xAssumed")


@pytest.fixture
def harness() -> RotationHarness:
    return RotationHarness()


def lost(harness: RotationHarness) -> Intent:
    """A rekey was sent, its answer was lost and it never arrived."""
    harness.cluster.failing = {"rekey": [RekeyOutcomeUnknown("Reset.")]}
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
    intent = harness.record().intent
    assert intent
    return intent


# --- what is looked at, and what is said of it


def test_no_result_is_asked_for_where_none_is_listed(harness: RotationHarness) -> None:
    harness.start()
    assert "rekey_job" not in harness.cluster.calls


def test_a_provider_that_is_not_there_is_named(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15)
    with pytest.raises(KeyProviderUnusable, match=r"with keyProviderID 15\."):
        harness.start()


def test_a_rekey_whose_answer_was_lost_says_so_as_long_as_nothing_shows(harness: RotationHarness) -> None:
    lost(harness)
    what = "A rekey was sent, its answer was lost, and the cluster does not show yet what became of it."
    with pytest.raises(RekeyOutcomeUnknown) as caught:
        harness.start()
    assert (caught.value.what, caught.value.cluster) == (what, "prod-a")


def test_a_rekey_taken_for_the_lost_one_says_so(harness: RotationHarness) -> None:
    harness.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
    harness.cluster.finish()
    harness.clock.advance(SETTLED)
    harness.start()
    proof = "Key key-0 was replaced by key-1. The answer to our rekey was lost; this one is taken for it."
    assert harness.check().rotation.detail == proof


def test_a_rekey_that_is_listed_and_never_shown_is_reported_as_that_at_the_deadline(harness: RotationHarness) -> None:
    harness.start()
    harness.cluster.jobs.clear()
    harness.clock.now = NOW + SETTINGS.deadline
    with pytest.raises(RotationOverdue) as caught:
        harness.check()
    assert caught.value.what == "Rekey 7 is still listed and not shown after 6:00:00."


def test_a_rekey_taken_for_the_lost_one_is_not_overdue_before_it_may_be_judged(harness: RotationHarness) -> None:
    sent = NOW + SETTINGS.deadline - timedelta(seconds=35)
    harness.clock.now = sent
    harness.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
    harness.cluster.finish()
    harness.start()
    harness.clock.now = sent + SETTINGS.settling - timedelta(seconds=20)
    assert (harness.check().status, harness.check().wait_seconds) == (Status.CHECK_AGAIN, 20)
    harness.clock.advance(20)
    assert harness.check().rotation.outcome is Outcome.ROTATED


# --- an old result on the cluster, and a second attempt


def test_the_result_of_an_earlier_rekey_is_not_taken_for_the_one_that_was_lost(harness: RotationHarness) -> None:
    harness.cluster.handle = 5
    harness.cluster.jobs[5] = done(key(), key("key-before"), handle=5)
    assert lost(harness).baseline_async_result_id == 5
    with pytest.raises(RekeyOutcomeUnknown, match="does not show yet"):
        harness.start()
    assert harness.record().following is None


@pytest.mark.parametrize("error", [REFUSED, LedgerConflict("Not sent.")], ids=["refused", "not sent"])
def test_a_second_attempt_that_was_not_applied_leaves_the_first_one_open(
    harness: RotationHarness, error: ElementRekeyError
) -> None:
    first = lost(harness)
    harness.clock.advance(SETTLED)
    harness.cluster.failing = {"rekey": [error]}
    with pytest.raises(type(error)):
        harness.start()
    assert harness.record().intent == first


# --- what check_status asks, waits for and says


def test_a_check_after_a_replan_hands_on_the_record(harness: RotationHarness) -> None:
    harness.start()
    harness.change_record(following=None)
    step = harness.check()
    assert (step.status, step.rotation) == (Status.START_AGAIN, harness.record())


def test_a_rekey_followed_without_a_handle_is_not_asked_for_its_result(harness: RotationHarness) -> None:
    step = harness.start()
    assert step.rotation.following
    harness.change_record(following=replace(step.rotation.following, async_handle=None))
    harness.cluster.calls.clear()
    assert harness.check().status is Status.CHECK_AGAIN
    assert "rekey_job" not in harness.cluster.calls


def test_a_handle_that_is_not_visible_yet_leaves_the_last_word(harness: RotationHarness) -> None:
    harness.start()
    harness.cluster.jobs.clear()
    assert harness.check().rotation.detail == "Replacing key key-0."


def test_a_foreign_handle_that_does_not_show_is_given_the_settling_time_and_then_named(
    harness: RotationHarness,
) -> None:
    harness.cluster.handle = 3
    harness.start()
    assert harness.check().status is Status.CHECK_AGAIN
    harness.clock.advance(SETTLED - 1)
    assert harness.check().status is Status.CHECK_AGAIN
    harness.clock.advance(1)
    step = harness.check()
    assert (step.status, step.rotation.detail) == (Status.START_AGAIN, "The cluster lists rekey 3 but never shows it.")


def test_an_overdue_rekey_names_its_cluster(harness: RotationHarness) -> None:
    harness.start()
    harness.clock.advance(SETTINGS.deadline.total_seconds())
    with pytest.raises(RotationOverdue, match=r"Rekey 7 still runs after 6:00:00\.") as caught:
        harness.check()
    assert caught.value.cluster == "prod-a"


def test_a_check_of_nothing_says_so(harness: RotationHarness) -> None:
    harness.execution = execution(arn=OTHER_ARN)
    with pytest.raises(LedgerConflict, match="There is no record of what this execution follows"):
        harness.check()


# --- what an end says


def scheduled(**changes: object) -> Request:
    return replace(
        Request("prod-a", trigger=Trigger.SCHEDULE, key_created_after=NOW - 90 * DAY),
        **changes,  # type: ignore[arg-type]  # members of Request
    )


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


def test_a_rekey_that_was_followed_is_reported_with_when_its_key_was_made(harness: RotationHarness) -> None:
    harness.cluster.begin()
    harness.clock.advance(1)
    harness.request = Request("prod-a", trigger=Trigger.SCHEDULE, key_created_after=NOW - HOUR)
    ended = harness.run()
    assert ended.outcome is Outcome.FOLLOWED
    assert ended.detail == "Somebody else's rekey made the current key at 2026-11-23 03:00:00 UTC."


def test_an_end_that_is_well_keeps_no_failure_of_a_look_before_it(harness: RotationHarness) -> None:
    harness.cluster.key = key("key-1", NOW - DAY)
    harness.request = scheduled()
    harness.ledger.save(rotation(request=harness.request, failure=Failure("RekeyFailed", "It failed.", "Mend it.")))
    step = harness.start()
    assert (step.rotation.outcome, step.rotation.failure) == (Outcome.NOT_DUE, None)


def test_faults_in_spite_of_which_a_key_is_replaced_are_listed(harness: RotationHarness) -> None:
    harness.cluster.current_faults = (ClusterFault("nodeOffline"), ClusterFault("blocksDegraded"))
    harness.request = Request("prod-a", trigger=Trigger.ALARM, reason="alarm", key_created_after=NOW)
    assert harness.start().rotation.detail == "Replacing key key-0 in spite of blocksDegraded, nodeOffline."


def test_a_rekey_whose_result_was_read_away_says_what_proves_it(harness: RotationHarness) -> None:
    harness.start()
    harness.cluster.finish()
    harness.cluster.jobs.clear()
    harness.cluster.handle = None
    said = "Key key-0 was replaced by key-1. Its result was read away; the cluster's own state shows the change."
    assert harness.check().rotation.detail == said


def test_an_execution_without_a_record_is_closed_with_its_request(harness: RotationHarness) -> None:
    harness.publish(Failure("RequestInvalid", "It makes no sense.", "Mend it."))
    assert harness.record().request == harness.request
    assert harness.topic.published[0].request == harness.request


def test_an_end_without_an_outcome_says_so() -> None:
    _, failure = outcome_of(rotation(), None)
    assert failure
    assert failure.cause == "The execution ended without an outcome."


def test_a_second_publication_says_that_it_is_one(harness: RotationHarness) -> None:
    harness.start()
    assert harness.publish().published_now is True
    assert harness.publish().published_now is False
    assert harness.record().execution.id == ARN
