"""Nothing that happened to a key is missing from the record, whoever did it and whichever run sees it first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey.cluster import KeyManagementType, MasterKey
from element_rekey.errors import ExecutionAborted, LedgerConflict, RekeyOutcomeUnknown
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import Failure, Request, Rotation
from tests.fakes import NOW
from tests.unit.harness import RotationHarness
from tests.unit.rotation.stopped import STOPPED, sent, sent_and_its_answer_lost
from tests.unit.samples import ARN, BROKEN, DAY, HOUR, MINUTE, OTHER_ARN, SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

THIRD_ARN = OTHER_ARN + "-third"
ABORTED = Failure("ExecutionAborted", "Stopped.", ExecutionAborted.next_step)


@pytest.fixture
def harness() -> RotationHarness:
    return RotationHarness(request=Request("prod-a", reason="yearly", requested_by="jane"))


def stopped(harness: RotationHarness, stopped_after: Callable[[RotationHarness], None] = sent) -> None:
    """An execution is stopped after it sent its rekey, and closed; nobody can say what becomes of the rekey."""
    stopped_after(harness)
    assert harness.publish(ABORTED).rotation.outcome is Outcome.OUTCOME_UNKNOWN
    harness.clock.advance(130)


def again(harness: RotationHarness, arn: str = OTHER_ARN) -> RotationHarness:
    """Started again as the notification says."""
    return harness.another(arn, key_created_after=harness.execution.started_at - SECOND)


def by_hand(harness: RotationHarness) -> None:
    """An administrator rekeys the cluster, and it is over."""
    harness.cluster.begin()
    harness.cluster.finish()


def told(harness: RotationHarness) -> list[tuple[str, str]]:
    """The changes outside that were published, in order, each once."""
    return [(one.old_key_id, one.new_key.key_id) for _, one in harness.topic.outside]


def settled_by(record: Rotation) -> list[tuple[str, str, str, str]]:
    return [
        (one.execution.id, one.asked.requested_by, one.change.old_key.key_id, one.change.new_key.key_id)
        for one in record.settled or ()
    ]


# --- the story of a rekey whose execution ended without knowing ---


@STOPPED
@pytest.mark.parametrize("read_away", [False, True])
def test_whoever_first_sees_the_key_of_an_open_rekey_closes_its_story(
    harness: RotationHarness, stopped_after: Callable[[RotationHarness], None], *, read_away: bool
) -> None:
    stopped(harness, stopped_after)
    harness.cluster.finish()
    if read_away:
        harness.cluster.jobs.clear()
        harness.cluster.handle = None
    second = again(harness)
    ended = second.run()
    assert ended.outcome is Outcome.NOT_DUE
    assert settled_by(ended) == [(ARN, "jane", "key-0", "key-1")]
    assert ARN in ended.detail
    first = harness.record()
    assert first.change
    assert (first.change.old_key.key_id, first.change.new_key.key_id, first.change.ours) == ("key-0", "key-1", True)
    assert first.settled_by == second.execution
    assert first.outcome is Outcome.OUTCOME_UNKNOWN, "as it was published"
    assert [one.execution.id for one in harness.topic.published] == [ARN, OTHER_ARN]
    assert told(harness) == []
    assert harness.cluster.rekeys == 1


def test_the_story_is_told_once(harness: RotationHarness) -> None:
    stopped(harness)
    harness.cluster.finish()
    again(harness).run()
    harness.clock.advance(60)
    third = again(harness, THIRD_ARN).run()
    assert third.outcome is Outcome.NOT_DUE
    assert third.settled is None
    settled_first = harness.record().settled_by
    assert settled_first
    assert settled_first.id == OTHER_ARN


def test_whoever_follows_the_open_rekey_to_its_end_closes_its_story(harness: RotationHarness) -> None:
    stopped(harness)
    second = again(harness)
    ended = second.run()
    assert ended.outcome is Outcome.FOLLOWED
    assert settled_by(ended) == [(ARN, "jane", "key-0", "key-1")]
    assert ARN in ended.detail
    assert "omebody else" not in ended.detail
    assert harness.record().settled_by == second.execution
    assert told(harness) == []


def test_a_run_that_is_refused_closes_the_story_all_the_same(harness: RotationHarness) -> None:
    stopped(harness)
    harness.cluster.finish()
    harness.cluster.pending_version = "12.9.1"
    ended = harness.another(OTHER_ARN, key_created_after=harness.clock.now).run()
    assert ended.outcome is Outcome.FAILED
    assert settled_by(ended) == [(ARN, "jane", "key-0", "key-1")]


def test_a_dry_run_leaves_the_story_to_the_next_run(harness: RotationHarness) -> None:
    stopped(harness)
    harness.cluster.finish()
    assert replace(again(harness), request=Request("prod-a", dry_run=True)).run().settled is None
    assert settled_by(again(harness, THIRD_ARN).run()) == [(ARN, "jane", "key-0", "key-1")]


def test_a_rekey_whose_handle_vanished_and_that_goes_on_unseen_is_settled_by_the_next_run(
    harness: RotationHarness,
) -> None:
    harness.start()
    new = harness.cluster.new_keys[7]
    harness.cluster.jobs.clear()
    harness.cluster.handle = None
    harness.clock.advance(130)
    with pytest.raises(RekeyOutcomeUnknown):
        harness.check()
    harness.publish(Failure("RekeyOutcomeUnknown", "The rekey's result is gone.", "Start again."))
    harness.clock.advance(130)
    harness.cluster.key = new
    ended = again(harness).run()
    assert settled_by(ended) == [(ARN, "jane", "key-0", "key-1")]
    assert told(harness) == []


def test_a_rekey_is_settled_when_the_registration_names_its_cluster_again(harness: RotationHarness) -> None:
    harness.start()
    harness.cluster.uuid = "uuid-of-another"  # the secret was changed in the middle
    harness.clock.advance(60)
    assert harness.another(ARN).ports.ledger.memory("prod-a")
    failed = Failure("ClusterIdentityChanged", "The address answers as another.", "Check the mvip.")
    harness.publish(failed)
    harness.clock.advance(130)
    assert again(harness).run().outcome is Outcome.FAILED
    assert harness.record().settled_by is None
    harness.cluster.uuid = "uuid-of-prod-a"
    harness.cluster.finish()
    assert settled_by(again(harness, THIRD_ARN).run()) == [(ARN, "jane", "key-0", "key-1")]


def test_a_rekey_of_somebody_else_that_a_stopped_execution_followed_is_settled_by_the_next(
    harness: RotationHarness,
) -> None:
    harness.run()
    harness.clock.advance(HOUR.total_seconds())
    harness.cluster.begin()
    second = harness.another(OTHER_ARN)
    second.start()
    second.publish(ABORTED)
    harness.clock.advance(130)
    harness.cluster.finish()
    ended = harness.another(THIRD_ARN, key_created_after=second.execution.started_at).run()
    assert settled_by(ended) == [(OTHER_ARN, "jane", "key-1", "key-2")]
    assert ended.settled
    assert not ended.settled[0].change.ours
    assert told(harness) == []


def test_what_a_rekey_did_before_another_one_came_after_it_is_told_of_each(harness: RotationHarness) -> None:
    stopped(harness)
    harness.cluster.finish()
    by_hand(harness)
    ended = again(harness).run()
    assert settled_by(ended) == [(ARN, "jane", "key-0", "key-1")]
    assert told(harness) == [("key-1", "key-2")]


def test_a_rekey_that_failed_explains_no_key(harness: RotationHarness) -> None:
    stopped(harness)
    harness.cluster.finish(BROKEN, replaced=False)
    by_hand(harness)
    ended = again(harness).run()
    assert ended.settled is None
    assert harness.record().settled_by is None
    assert told(harness) == [("key-0", "key-2")]


def test_a_key_that_was_made_long_after_a_rekey_without_a_trace_is_not_that_rekeys(harness: RotationHarness) -> None:
    sent_and_its_answer_lost(harness)
    harness.cluster.jobs.clear()  # it never arrived
    harness.cluster.handle = None
    harness.publish(ABORTED)
    harness.clock.advance(20 * DAY.total_seconds())
    by_hand(harness)
    harness.clock.advance(60)
    ended = again(harness).run()
    assert ended.settled is None
    assert told(harness) == [("key-0", "key-2")]


def test_a_rekey_that_lands_after_a_look_that_showed_nothing_of_it_is_told_as_a_change_outside(
    harness: RotationHarness,
) -> None:
    sent_and_its_answer_lost(harness)
    late = harness.cluster.new_keys[7]
    harness.cluster.jobs.clear()
    harness.cluster.handle = None
    harness.publish(ABORTED)
    harness.clock.advance(130)
    harness.cluster.pending_version = "12.9.1"
    assert again(harness).run().outcome is Outcome.FAILED
    harness.cluster.pending_version = ""
    harness.cluster.key = late
    assert again(harness, THIRD_ARN).run().settled is None
    assert told(harness) == [("key-0", "key-1")]


def test_a_record_that_is_being_published_is_waited_for(harness: RotationHarness) -> None:
    stopped(harness)
    harness.change_record(notified_at=None, publishing_until=harness.clock.now + MINUTE)
    harness.cluster.finish()
    second = again(harness)
    with pytest.raises(LedgerConflict, match="being published"):
        second.start()
    harness.clock.advance(61)
    second.start()
    assert harness.record().settled_by == second.execution


def test_an_execution_whose_record_is_gone_explains_nothing(harness: RotationHarness) -> None:
    stopped(harness)
    harness.cluster.finish()
    del harness.ledger.items[f"ROTATION#{ARN}"]  # kept for a time only
    assert again(harness).run().settled is None
    assert told(harness) == [("key-0", "key-1")]


# --- changes outside ---


def test_a_key_changed_by_hand_is_told_by_the_next_run(harness: RotationHarness) -> None:
    assert harness.run().outside is None
    left_at = harness.ledger.memory("prod-a").key_seen_at  # type: ignore[union-attr]  # it was just seen
    harness.clock.advance(DAY.total_seconds())
    by_hand(harness)
    harness.clock.advance(60)
    second = harness.another(OTHER_ARN, key_created_after=NOW)
    step = second.start()
    assert told(harness) == [("key-1", "key-2")], "at once"
    (change,) = step.rotation.outside or ()
    assert change.old_key_seen_at == left_at
    assert change.new_key_seen_at == harness.clock.now
    assert change.new_key == harness.cluster.key
    assert change.rekey_async_result_id == 8
    ended = second.publish().rotation
    assert ended.outcome is Outcome.NOT_DUE
    assert ended.outside
    assert told(harness) == [("key-1", "key-2")], "once"


def test_an_old_key_that_came_back_is_told(harness: RotationHarness) -> None:
    old = harness.cluster.key
    harness.run()
    harness.cluster.key = old
    harness.clock.advance(60)
    harness.another(OTHER_ARN, key_created_after=NOW - 500 * DAY).run()
    assert told(harness) == [("key-1", "key-0")]


def test_what_we_rotate_ourselves_is_no_change_outside(harness: RotationHarness) -> None:
    harness.run()
    for number in range(3):
        harness.clock.advance(60)
        assert harness.another(f"{OTHER_ARN}-{number}").run().outcome is Outcome.ROTATED
    assert told(harness) == []


def test_a_rekey_of_somebody_else_that_we_followed_is_no_change_outside(harness: RotationHarness) -> None:
    harness.run()
    harness.clock.advance(60)
    second = harness.another(OTHER_ARN)
    harness.clock.advance(1)
    harness.cluster.begin()
    assert second.run().outcome is Outcome.FOLLOWED
    harness.clock.advance(60)
    harness.another(THIRD_ARN, key_created_after=NOW).run()
    assert told(harness) == []


def test_two_changes_while_one_run_waits_are_both_told(harness: RotationHarness) -> None:
    harness.run()
    second = harness.another(
        OTHER_ARN,
        trigger=Trigger.ALARM,
        key_management_type=KeyManagementType.EXTERNAL,
        key_provider_id=15,
        cool_down_seconds=7 * 86_400,
    )
    assert second.start().wait_seconds
    for _ in range(2):
        harness.clock.advance(HOUR.total_seconds())
        by_hand(harness)
        assert second.start().wait_seconds
    assert told(harness) == [("key-1", "key-2"), ("key-2", "key-3")]


def test_a_change_outside_that_could_not_be_published_at_once_is_published_with_the_outcome(
    harness: RotationHarness,
) -> None:
    harness.run()
    harness.clock.advance(60)
    by_hand(harness)
    harness.topic.failures = 1
    second = harness.another(OTHER_ARN, key_created_after=NOW)
    second.start()
    assert told(harness) == []
    second.publish()
    second.publish()
    assert told(harness) == [("key-1", "key-2")]


def test_another_cluster_that_is_accepted_is_no_change_of_keys(harness: RotationHarness) -> None:
    harness.run()
    harness.cluster.uuid = "uuid-of-another"
    harness.cluster.key = MasterKey("key-9", KeyManagementType.INTERNAL, None, NOW - DAY)
    harness.another(OTHER_ARN, accept_cluster_uuid="uuid-of-another", key_created_after=NOW - 2 * DAY).run()
    assert told(harness) == []


@pytest.mark.parametrize("effective", [False, True])
def test_a_function_that_dies_while_it_writes_a_change_down_tells_it_once(
    harness: RotationHarness, monkeypatch: pytest.MonkeyPatch, *, effective: bool
) -> None:
    class Died(Exception):
        pass

    stopped(harness)
    harness.cluster.finish()
    by_hand(harness)
    second, real = again(harness), harness.ledger.save_seen

    def dies(*arguments: Any) -> None:  # noqa: ANN401 - those of save_seen
        if effective:
            real(*arguments)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(harness.ledger, "save_seen", dies)
        with pytest.raises(Died):
            second.start()
    second.start()
    assert told(harness) == [("key-1", "key-2")]
    record = second.publish().rotation
    assert told(harness) == [("key-1", "key-2")]
    assert settled_by(record) == [(ARN, "jane", "key-0", "key-1")]
    assert len(record.outside or ()) == 1
