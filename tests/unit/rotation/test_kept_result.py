"""A cluster that accepts no rekey while the result of the last one is kept."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from element_rekey.errors import (
    ClusterIdentityChanged,
    ClusterUnavailable,
    ElementRekeyError,
    LedgerConflict,
    RekeyOutcomeUnknown,
    RekeyRefused,
)
from element_rekey.outcomes import Outcome
from element_rekey.records import Execution, KeptResult, Lock, Request
from element_rekey.rotation.steps import Status
from tests.fakes import NOW, SETTINGS
from tests.unit.harness import RotationHarness
from tests.unit.rotation.stopped import lost_intent
from tests.unit.samples import (
    ARN,
    HOUR,
    OTHER_ARN,
    done,
    key,
    rotation,
)

SETTLING_SECONDS = SETTINGS.settling.total_seconds()
REFUSED = RekeyRefused("Answered with xAssumed.", name="xAssumed")


@pytest.fixture
def harness() -> RotationHarness:
    return RotationHarness()


@pytest.fixture
def kept(harness: RotationHarness) -> RotationHarness:
    """Its key was replaced long ago, by rekey 7, whose result it still keeps."""
    harness.cluster.begin()
    harness.cluster.finish()
    harness.clock.advance(400 * 86_400)
    harness.execution = Execution(ARN, harness.clock.now)
    harness.cluster.kept_result_blocks = True
    return harness


RELEASED = "release_result"


def test_a_result_for_which_a_rekey_was_refused_is_written_down_and_then_released(kept: RotationHarness) -> None:
    job = kept.cluster.jobs[7]
    held: list[KeptResult | None] = []
    kept.cluster.before = {RELEASED: lambda: held.append(kept.record().kept_result)}
    now = kept.clock.now
    step = kept.start()
    assert held == [KeptResult(job, now, "A result is kept.")]
    assert step.rotation == kept.record()
    assert step.rotation.kept_result == KeptResult(job, now, "A result is kept.", released_at=now)
    assert (step.status, step.wait_seconds) == (Status.START_AGAIN, SETTLING_SECONDS + 1)
    assert "refused while the cluster kept the result of rekey 7" in step.rotation.detail
    assert kept.cluster.rekeys == 1


def test_the_rekey_is_then_sent_once_more_and_proven(kept: RotationHarness) -> None:
    rotation = kept.run()
    assert rotation.outcome is Outcome.ROTATED
    assert rotation.detail == (
        "Key key-1 was replaced by key-2. It was refused at first; the cluster kept the result of rekey 7, which this "
        "record holds now."
    )
    assert kept.cluster.calls.count("rekey") == 2
    assert kept.cluster.calls.count(RELEASED) == 1


def test_a_second_refusal_releases_nothing_more_and_is_told_as_one(kept: RotationHarness) -> None:
    kept.cluster.failing = {"rekey": [REFUSED, REFUSED]}
    rotation = kept.run()
    assert rotation.outcome is Outcome.FAILED
    assert rotation.failure
    assert rotation.failure.error == "RekeyRefused"
    assert kept.cluster.calls.count("rekey") == 2
    assert kept.cluster.calls.count(RELEASED) == 1
    assert kept.cluster.rekeys == 1


@pytest.mark.parametrize("lost", [False, True], ids=["the release", "its answer"])
def test_a_release_that_got_lost_is_made_up_for(kept: RotationHarness, *, lost: bool) -> None:
    def vanish() -> None:
        if lost:
            kept.cluster.jobs.clear()
            kept.cluster.handle = None

    kept.cluster.before = {RELEASED: vanish}
    kept.cluster.failing = {RELEASED: [ClusterUnavailable("Reset.")]}
    with pytest.raises(ClusterUnavailable):
        kept.start()
    assert kept.run().outcome is Outcome.ROTATED
    assert kept.cluster.calls.count("rekey") == 2
    assert kept.cluster.calls.count(RELEASED) == (1 if lost else 2)


def test_nothing_is_released_on_another_cluster(kept: RotationHarness) -> None:
    kept.cluster.failing = {RELEASED: [ClusterUnavailable("Reset.")]}
    with pytest.raises(ClusterUnavailable):
        kept.start()
    kept.cluster.uuid = "another"
    with pytest.raises(ClusterIdentityChanged):
        kept.start()
    assert kept.cluster.calls.count(RELEASED) == 1


def test_a_rekey_that_began_after_all_is_followed_and_no_other_is_sent(kept: RotationHarness) -> None:
    kept.start()
    kept.cluster.begin()  # ours, late
    kept.clock.advance(SETTLING_SECONDS + 1)
    following = kept.start().rotation.following
    assert following
    assert (following.async_handle, following.presumed_ours, kept.cluster.rekeys) == (8, True, 2)


@pytest.mark.parametrize("case", ["still runs", "not readable", "another is listed", "another key", "second attempt"])
def test_nothing_is_released_where_a_kept_result_cannot_be_why(kept: RotationHarness, case: str) -> None:
    job = kept.cluster.jobs[7]
    kept.cluster.failing = {"rekey": [REFUSED]}
    if case == "still runs":
        kept.cluster.jobs[7] = replace(job, complete=False, understood=False)
        kept.ledger.save(rotation(execution=kept.execution, disregarded_handle=7))
    elif case == "not readable":
        kept.cluster.jobs.clear()
        kept.ledger.save(rotation(execution=kept.execution, disregarded_handle=7))
    elif case == "another is listed":
        kept.cluster.before = {"rekey": lambda: setattr(kept.cluster, "handle", None)}
    elif case == "another key":
        other = key("key-9")
        kept.cluster.before = {"rekey": lambda: setattr(kept.cluster, "key", other)}
    else:
        kept.cluster.failing = {"rekey": [RekeyOutcomeUnknown("Reset."), REFUSED]}
        with pytest.raises(RekeyOutcomeUnknown):
            kept.start()
        kept.clock.advance(SETTLING_SECONDS)
    with suppress(RekeyRefused):
        kept.start()
    assert RELEASED not in kept.cluster.calls
    assert kept.record().kept_result is None


def test_no_rekey_is_sent_where_the_lock_changed_hands_before_the_intent(harness: RotationHarness) -> None:
    def taken_over() -> None:
        harness.clock.advance(SETTINGS.lease.total_seconds())
        harness.ledger.take_lock("prod-a", Lock(OTHER_ARN, harness.clock.now + HOUR), harness.clock.now)

    harness.cluster.before = {"faults": taken_over}
    with pytest.raises(LedgerConflict):
        harness.start()
    assert harness.cluster.rekeys == 0


def test_no_rekey_is_sent_by_an_execution_that_was_closed_meanwhile(harness: RotationHarness) -> None:
    """A stopped execution leaves its function running; the stop closes the record and frees the lock."""
    harness.cluster.before = {"faults": harness.publish}
    with pytest.raises(LedgerConflict):
        harness.start()
    assert harness.cluster.rekeys == 0


def test_a_rekey_that_ends_between_two_looks_is_not_repeated(harness: RotationHarness) -> None:
    """The state is read first and shows the old key; the job, read next, is complete."""
    harness.request = Request("prod-a", key_created_after=NOW - HOUR)
    harness.cluster.begin()
    harness.cluster.before = {"rekey_job": harness.cluster.finish}
    step = harness.start()
    assert step.rotation.outcome is Outcome.NOT_DUE
    assert harness.cluster.rekeys == 1


def test_a_rekey_that_begins_between_two_looks_is_followed(harness: RotationHarness) -> None:
    harness.cluster.begin()
    harness.cluster.finish()

    harness.cluster.before = {"rekey_job": harness.cluster.begin}
    step = harness.start()
    assert step.rotation.following
    assert step.rotation.following.async_handle == 8
    assert harness.cluster.rekeys == 2


def test_a_rekey_whose_answer_was_lost_says_so_as_long_as_nothing_shows(harness: RotationHarness) -> None:
    lost_intent(harness)
    what = "A rekey was sent, its answer was lost, and the cluster does not show yet what became of it."
    with pytest.raises(RekeyOutcomeUnknown) as caught:
        harness.start()
    assert (caught.value.what, caught.value.cluster) == (what, "prod-a")


def test_the_result_of_an_earlier_rekey_is_not_taken_for_the_one_that_was_lost(harness: RotationHarness) -> None:
    harness.cluster.handle = 5
    harness.cluster.jobs[5] = done(key(), key("key-before"), handle=5)
    assert lost_intent(harness).baseline_async_result_id == 5
    with pytest.raises(RekeyOutcomeUnknown, match="does not show yet"):
        harness.start()
    assert harness.record().following is None


@pytest.mark.parametrize("error", [REFUSED, LedgerConflict("Not sent.")], ids=["refused", "not sent"])
def test_a_second_attempt_that_was_not_applied_leaves_the_first_one_open(
    harness: RotationHarness, error: ElementRekeyError
) -> None:
    first = lost_intent(harness)
    harness.clock.advance(SETTLING_SECONDS)
    harness.cluster.failing = {"rekey": [error]}
    with pytest.raises(type(error)):
        harness.start()
    assert harness.record().intent == first
