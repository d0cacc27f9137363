from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from element_rekey.cluster import ElementError
from element_rekey.errors import (
    AwsCallFailed,
    ElementRekeyError,
    ExecutionAborted,
    RekeyFailed,
    RekeyOutcomeUnknown,
    RotationNotProven,
)
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import CloseRequest, Execution, Failure, Following, Lock, Request, Rotation
from element_rekey.rotation.publish import publish_outcome
from element_rekey.rotation.steps import Status, Step
from tests.fakes import NOW, SETTINGS
from tests.unit.harness import RotationHarness
from tests.unit.samples import ARN, DAY, HOUR, OTHER_ARN, intent, key, rotation

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


ABORTED = Failure("ExecutionAborted", "Stopped.", ExecutionAborted.next_step)
NO_INPUT: CloseRequest[Request] = CloseRequest(Execution(ARN, NOW), None, ABORTED)


@pytest.fixture
def harness() -> RotationHarness:
    return RotationHarness()


def lost(harness: RotationHarness) -> None:
    """A rekey is sent and its answer lost."""
    harness.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()


def failure(error: str) -> Failure:
    return Failure(error, "It happened.", "Look.")


def test_a_proven_rotation_is_closed_published_once_and_gives_its_lock_back(harness: RotationHarness) -> None:
    harness.start()
    harness.clock.advance(40)
    harness.cluster.finish()
    harness.check()
    closed = harness.publish()
    assert closed.published_now
    assert closed.rotation == harness.record()
    assert closed.rotation.outcome is Outcome.ROTATED
    assert closed.rotation.failure is None
    assert closed.rotation.ended_at == closed.rotation.notified_at == harness.clock.now
    assert harness.ledger.lock("prod-a") is None
    assert [rotation.execution.id for rotation in harness.topic.published] == [harness.execution.id]


def test_a_daily_look_is_closed_and_its_run_tells_of_it(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", trigger=Trigger.READINESS, dry_run=True)
    harness.start()
    closed = harness.publish()
    assert (closed.published_now, closed.rotation.outcome) == (True, Outcome.PLANNED)
    assert closed.rotation.notified_at, "nobody has to look for it any more"
    assert harness.topic.published == []


def test_a_repeated_publication_publishes_nothing_and_changes_nothing(harness: RotationHarness) -> None:
    harness.start()
    first = harness.publish(ABORTED)
    harness.clock.advance(1000)
    again = harness.publish(Failure("Other", "Other.", "Other."))
    assert not again.published_now
    assert again.rotation == first.rotation
    assert len(harness.topic.published) == 1


def test_a_recorded_outcome_counts_more_than_the_error_that_came_after_it(harness: RotationHarness) -> None:
    """The step wrote its result down, and its answer got lost on the way."""
    harness.start()
    harness.cluster.finish()
    harness.check()
    closed = harness.publish(ABORTED).rotation
    assert (closed.outcome, closed.failure) == (Outcome.ROTATED, None)


def test_an_execution_without_any_record_is_reported_too(harness: RotationHarness) -> None:
    closed = publish_outcome(harness.ports, NO_INPUT).rotation
    assert (closed.cluster, closed.request, closed.outcome) == ("", None, Outcome.FAILED)
    assert harness.topic.published == [replace(closed, version=1, notified_at=None)]


def test_the_lock_that_was_taken_before_anything_was_recorded_is_freed(harness: RotationHarness) -> None:
    harness.ledger.take_lock("prod-a", Lock(harness.execution.id, NOW + HOUR), NOW)
    harness.publish(ABORTED)
    assert harness.ledger.lock("prod-a") is None


def test_nobody_elses_lock_is_freed(harness: RotationHarness) -> None:
    theirs = Lock(OTHER_ARN, NOW + HOUR)
    harness.ledger.take_lock("prod-a", theirs, NOW)
    harness.publish(ABORTED)
    assert harness.ledger.lock("prod-a") == theirs


def test_the_lock_is_kept_until_a_rekey_that_may_have_been_sent_would_show(harness: RotationHarness) -> None:
    lost(harness)
    harness.clock.advance(10)
    closed = harness.publish(ABORTED).rotation
    assert closed.outcome is Outcome.OUTCOME_UNKNOWN
    assert harness.ledger.lock("prod-a") == Lock(harness.execution.id, NOW + SETTINGS.settling)
    second = harness.another(OTHER_ARN)
    assert second.start().rotation.detail == f"Waiting for execution {harness.execution.id}."
    harness.clock.now = NOW + SETTINGS.settling
    step = second.start()
    assert step.rotation.following
    assert step.rotation.following.async_handle == 7
    assert harness.cluster.rekeys == 1


def test_the_second_publisher_does_not_shorten_or_free_a_lock_that_is_kept(harness: RotationHarness) -> None:
    lost(harness)
    harness.publish(ABORTED)
    harness.publish(ABORTED)
    assert harness.ledger.lock("prod-a") == Lock(harness.execution.id, NOW + SETTINGS.settling)


@pytest.mark.parametrize("step", [RotationHarness.start, RotationHarness.check])
@pytest.mark.parametrize(("failure", "kept"), [(ABORTED, True), (replace(ABORTED, error="RekeyFailed"), False)])
def test_a_function_overtaken_by_the_end_of_its_execution_gives_the_lock_back(
    harness: RotationHarness,
    step: Callable[[RotationHarness], Step],
    failure: Failure,
    *,
    kept: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness.start()
    take = harness.ledger.take_lock

    def late(cluster: str, lock: Lock, now: datetime) -> Lock:
        harness.publish(failure)
        return take(cluster, lock, now)

    monkeypatch.setattr(harness.ledger, "take_lock", late)
    harness.cluster.calls.clear()
    assert step(harness) == Step(Status.PUBLISH, harness.record())
    assert harness.ledger.lock("prod-a") == (Lock(ARN, NOW + SETTINGS.settling) if kept else None)
    assert harness.cluster.calls == []


def test_an_end_reported_without_its_input_does_not_keep_an_overtaken_function_from_giving_the_lock_back(
    harness: RotationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = harness.ledger.take_lock

    def late(cluster: str, lock: Lock, now: datetime) -> Lock:
        publish_outcome(harness.ports, NO_INPUT)
        return take(cluster, lock, now)

    monkeypatch.setattr(harness.ledger, "take_lock", late)
    harness.start()
    assert harness.ledger.lock("prod-a") is None


def test_a_closed_rotation_is_not_continued(harness: RotationHarness) -> None:
    harness.start()
    harness.publish(ABORTED)
    harness.cluster.calls.clear()
    assert harness.start().rotation.outcome is Outcome.OUTCOME_UNKNOWN
    assert harness.check().rotation.outcome is Outcome.OUTCOME_UNKNOWN
    assert harness.cluster.calls == []


@pytest.mark.parametrize("method", ["rotation", "save", "release_lock"])
@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
def test_a_publication_that_breaks_at_the_ledger_can_be_repeated(
    harness: RotationHarness, method: str, *, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.start()
    real = getattr(harness.ledger, method)

    def broken(*arguments: object) -> object:
        monkeypatch.setattr(harness.ledger, method, real)
        if written:
            real(*arguments)
        raise AwsCallFailed("DynamoDB did not answer.")

    monkeypatch.setattr(harness.ledger, method, broken)
    with pytest.raises(AwsCallFailed):
        harness.publish(ABORTED)
    harness.clock.advance(SETTINGS.settling.total_seconds())
    harness.publish(ABORTED)
    assert len(harness.topic.published) == 1
    assert harness.record().notified_at
    assert harness.ledger.lock("prod-a") == Lock(harness.execution.id, NOW + SETTINGS.settling), "which is over"


def test_an_execution_without_a_record_is_closed_with_its_request(harness: RotationHarness) -> None:
    harness.publish(Failure("RequestInvalid", "It makes no sense.", "Mend it."))
    assert harness.record().request == harness.request
    assert harness.topic.published[0].request == harness.request


def test_a_second_publication_says_that_it_is_one(harness: RotationHarness) -> None:
    harness.start()
    assert harness.publish().published_now is True
    assert harness.publish().published_now is False
    assert harness.record().execution.id == ARN


# --- what an outcome may claim ---


def test_a_rekey_that_failed_is_reported_as_that_by_an_event_that_knows_only_that_it_broke(
    harness: RotationHarness,
) -> None:
    harness.start()
    harness.cluster.finish(ElementError("xAssumed", "Out of entropy."), replaced=False)
    with pytest.raises(RekeyFailed) as caught:
        harness.check()
    closed = harness.publish(failure("ExecutionBroken")).rotation
    assert closed.outcome is Outcome.FAILED
    assert closed.failure == Failure("RekeyFailed", caught.value.what, RekeyFailed.next_step)


def test_a_doubt_that_a_good_look_cleared_is_not_reported(harness: RotationHarness) -> None:
    harness.start()
    kept, job = harness.cluster.key, harness.cluster.jobs.pop(7)
    harness.cluster.before = {"encryption": lambda: setattr(harness.cluster, "key", None)}
    with pytest.raises(RotationNotProven):
        harness.check()
    harness.cluster.key, harness.cluster.jobs[7] = kept, job
    harness.check()
    assert harness.publish(ABORTED).rotation.failure == ABORTED


def locked_until(harness: RotationHarness, record: Rotation) -> datetime | None:
    """The lease that is left after such a record was published."""
    harness.ledger.take_lock("prod-a", Lock(harness.execution.id, NOW + HOUR), NOW)
    harness.ledger.save(record)
    harness.publish(failure("ClusterUnavailable"))
    lock = harness.ledger.lock("prod-a")
    return lock.lease_until if lock else None


@pytest.mark.parametrize(
    ("following_", "sent", "kept"),
    [
        (None, True, True),
        (Following(7, ours=True, since=NOW, baseline_key=key()), True, True),
        (Following(3, ours=False, since=NOW, baseline_key=key()), False, False),
        (None, False, False),
    ],
    ids=["sent", "sent and answered", "somebody else's", "not sent"],
)
def test_the_lock_outlives_the_execution_only_where_a_rekey_of_ours_may_be_on_its_way_unseen(
    harness: RotationHarness, following_: Following | None, *, sent: bool, kept: bool
) -> None:
    record = rotation(following=following_, intent=intent(sent_at=NOW) if sent else None)
    assert locked_until(harness, record) == (NOW + SETTINGS.settling if kept else None)


def test_the_lock_is_not_kept_where_the_outcome_is_known(harness: RotationHarness) -> None:
    assert locked_until(harness, rotation(intent=intent(sent_at=NOW), outcome=Outcome.ROTATED)) is None


def test_a_handle_the_cluster_does_not_list_yet_is_waited_for_by_the_next_execution(harness: RotationHarness) -> None:
    """Stopped right after its rekey was answered: without the lock the next one would see nothing and send another."""
    harness.start()
    harness.publish(ABORTED)
    handle, harness.cluster.handle = harness.cluster.handle, None
    second = harness.another(OTHER_ARN)
    harness.clock.now = NOW + SETTINGS.settling - timedelta(seconds=1)
    assert second.start().rotation.detail == f"Waiting for execution {harness.execution.id}."
    harness.cluster.handle = handle
    harness.clock.now = NOW + SETTINGS.settling
    step = second.start()
    assert step.rotation.following
    assert step.rotation.following.async_handle == 7
    assert harness.cluster.rekeys == 1


# --- a name that was used before ---


@pytest.mark.parametrize("reported", [False, True])
def test_the_end_of_an_execution_that_reuses_a_name_is_published_as_its_own(
    harness: RotationHarness, *, reported: bool
) -> None:
    harness.start()
    if reported:
        harness.publish(ABORTED)
    published = len(harness.topic.published)
    reused = CloseRequest(Execution(ARN, NOW + 91 * DAY), harness.request, ABORTED, "prod-a")
    closed = publish_outcome(harness.ports, reused)
    assert closed.published_now
    assert closed.rotation.outcome is Outcome.FAILED, "nothing was begun under this name since"
    assert len(harness.topic.published) == published + 1


def test_an_event_may_state_the_start_in_another_way_than_the_state_machine(harness: RotationHarness) -> None:
    harness.start()
    event = Execution(ARN, NOW + timedelta(milliseconds=1))
    assert publish_outcome(harness.ports, CloseRequest(event, harness.request, ABORTED, "prod-a")).published_now


def test_an_error_of_ours_is_found_by_its_name() -> None:
    assert issubclass(ExecutionAborted, ElementRekeyError)
    assert ABORTED.error == ExecutionAborted.__name__
