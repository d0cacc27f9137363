"""Answers to a rekey that get lost, and refusals of one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from element_rekey.cluster import (
    KeyManagementType,
    KeyProvider,
    RekeyJob,
    Unfamiliar,
)
from element_rekey.errors import (
    AnswerNotUnderstood,
    AwsCallFailed,
    ClusterUnavailable,
    CredentialsRefused,
    ElementRekeyError,
    PermissionDenied,
    RekeyOutcomeUnknown,
    RekeyRefused,
)
from element_rekey.outcomes import Outcome
from element_rekey.records import ClusterMemory
from element_rekey.rotation.steps import MOST_UNFAMILIAR, Status
from tests.fakes import NOW, SETTINGS, FakeLedger
from tests.unit.harness import RotationHarness
from tests.unit.rotation.stopped import lost_intent
from tests.unit.samples import (
    SECOND,
    main_memory,
)

if TYPE_CHECKING:
    from datetime import datetime

    from element_rekey.records import Rotation
    from tests.fakes import FakeClock

SEEN = ClusterMemory("uuid-of-prod-a", "key-0", key_seen_at=NOW)


@pytest.fixture
def harness() -> RotationHarness:
    return RotationHarness()


def test_a_lost_answer_is_resolved_by_the_handle_the_cluster_shows(harness: RotationHarness) -> None:
    harness.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
    assert harness.record().intent
    assert harness.record().following is None
    step = harness.start()
    assert step.rotation.following
    assert (step.rotation.following.async_handle, step.rotation.following.ours) == (7, True)
    assert step.rotation.detail == "Replacing key key-0."
    assert harness.cluster.rekeys == 1


def test_a_lost_answer_is_resolved_by_its_handle_also_where_the_cluster_names_no_key_for_a_while(
    harness: RotationHarness,
) -> None:
    harness.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
    harness.cluster.key = None
    harness.clock.advance(10)
    assert harness.start().status is Status.CHECK_AGAIN
    assert main_memory(harness.ledger) == SEEN, "there was no key to see"
    assert harness.cluster.rekeys == 1


def test_a_lost_answer_is_resolved_by_the_key_where_the_result_is_gone(harness: RotationHarness) -> None:
    harness.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
    harness.cluster.finish()
    harness.cluster.handle = None
    step = harness.start()
    assert step.rotation.following
    assert step.rotation.following.async_handle is None
    assert harness.cluster.rekeys == 1
    waiting = harness.check()
    assert (waiting.status, waiting.rotation.outcome) == (Status.CHECK_AGAIN, None)
    harness.clock.now += SETTINGS.settling
    assert harness.check().rotation.outcome is Outcome.ROTATED
    assert harness.record().change
    assert "read away" in harness.record().detail
    assert "taken for it" in harness.record().detail


def test_a_lost_rekey_is_sent_again_only_after_settling_and_only_once(harness: RotationHarness) -> None:
    lost = RekeyOutcomeUnknown("Reset.")
    harness.cluster.failing = {"rekey": [lost, lost, lost]}

    def sent() -> int:
        return harness.cluster.calls.count("rekey")

    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
    harness.clock.now = NOW + SETTINGS.settling - SECOND
    with pytest.raises(RekeyOutcomeUnknown, match="does not show yet"):
        harness.start()
    assert sent() == 1
    harness.clock.now = NOW + SETTINGS.settling
    with pytest.raises(RekeyOutcomeUnknown, match="Reset"):
        harness.start()
    assert sent() == 2
    intent = harness.record().intent
    assert intent
    assert (intent.attempts, intent.sent_at) == (2, harness.clock.now)
    harness.clock.advance(86400)
    with pytest.raises(RekeyOutcomeUnknown, match="does not show yet"):
        harness.start()
    assert sent() == 2


class SlowLedger(FakeLedger):
    """Takes its time to write an intent down."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self._clock, self.seconds = clock, seconds

    def save_intent(self, rotation: Rotation, now: datetime) -> Rotation:
        saved = super().save_intent(rotation, now)
        self._clock.advance(self.seconds)
        return saved


def test_a_rekey_that_was_written_down_too_long_ago_is_not_sent(harness: RotationHarness) -> None:
    """Settling counts from the intent: a function that hung is not to use up the time in which its rekey can show."""
    ledger = SlowLedger(harness.clock, 30.1)
    harness.ledger, harness.ports = ledger, replace(harness.ports, ledger=ledger)
    with pytest.raises(AwsCallFailed, match="was not sent"):
        harness.start()
    assert harness.cluster.rekeys == 0
    assert harness.record().intent is None
    ledger.seconds = 30
    assert harness.start().status is Status.CHECK_AGAIN
    assert harness.cluster.rekeys == 1


def test_a_second_attempt_that_comes_too_late_leaves_the_first_one_as_it_was(harness: RotationHarness) -> None:
    harness.cluster.failing = {"rekey": [RekeyOutcomeUnknown("Reset.")]}
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
    first = harness.record().intent
    harness.clock.now += SETTINGS.settling
    ledger = SlowLedger(harness.clock, 31)
    ledger.items = harness.ledger.items
    harness.ports = replace(harness.ports, ledger=ledger)
    with pytest.raises(AwsCallFailed):
        harness.start()
    assert harness.record().intent == first
    assert harness.cluster.calls.count("rekey") == 1


@pytest.mark.parametrize("error", [ClusterUnavailable, CredentialsRefused, PermissionDenied])
def test_a_rekey_that_certainly_was_not_applied_leaves_no_intent_and_may_be_sent_at_once(
    harness: RotationHarness, error: type[ElementRekeyError]
) -> None:
    harness.cluster.failing = {"rekey": [error("Refused.")]}
    with pytest.raises(error):
        harness.start()
    assert harness.record().intent is None
    assert harness.start().status is Status.CHECK_AGAIN
    assert harness.cluster.rekeys == 1


def test_a_certain_refusal_of_the_second_attempt_does_not_make_the_first_one_certain(harness: RotationHarness) -> None:
    harness.cluster.failing = {"rekey": [RekeyOutcomeUnknown("Reset."), ClusterUnavailable("Refused.")]}
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
    first = harness.record().intent
    harness.clock.advance(120)
    with pytest.raises(ClusterUnavailable):
        harness.start()
    assert harness.record().intent == first


@pytest.mark.parametrize("method", ["check_api_version", "version", "faults", "key_providers", "rekey_job"])
def test_once_a_rekey_was_sent_no_answer_but_the_clusters_state_stands_in_the_way(
    harness: RotationHarness, method: str
) -> None:
    harness.request = replace(harness.request, key_management_type=KeyManagementType.EXTERNAL, key_provider_id=15)
    harness.cluster.providers = (KeyProvider(15, (1,)),)
    harness.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
    harness.cluster.failing = {method: [AnswerNotUnderstood("Odd.")] * 9}
    step = harness.start()
    assert step.status is Status.CHECK_AGAIN
    assert step.rotation.following
    assert (step.rotation.following.async_handle, step.rotation.following.presumed_ours) == (7, True)
    assert harness.cluster.rekeys == 1


def test_a_rekey_that_shows_between_two_looks_is_not_sent_again(harness: RotationHarness) -> None:
    lost_intent(harness)
    harness.clock.now = NOW + SETTINGS.settling
    harness.cluster.before = {"faults": harness.cluster.begin}
    following = harness.start().rotation.following
    assert following
    assert (following.async_handle, following.presumed_ours, harness.cluster.rekeys) == (7, True, 1)


def test_zero_is_listed_for_none_where_the_cluster_knows_no_such_handle(harness: RotationHarness) -> None:
    harness.cluster.handle = 0
    step = harness.start()
    assert (step.status, harness.cluster.rekeys) == (Status.CHECK_AGAIN, 1)
    intent = harness.record().intent
    assert intent
    assert intent.baseline_async_result_id is None
    harness.cluster.handle = 0
    assert harness.check().status is Status.CHECK_AGAIN, "and is no rekey that came after ours"


def test_zero_is_a_handle_where_the_cluster_knows_it(harness: RotationHarness) -> None:
    harness.cluster.begin()
    harness.cluster.jobs[0] = replace(harness.cluster.jobs.pop(7), async_handle=0)
    harness.cluster.handle = 0
    following = harness.start().rotation.following
    assert following
    assert (following.async_handle, following.ours) == (0, False)
    harness.cluster.calls.clear()
    harness.check()
    assert harness.cluster.calls == ["rekey_job", "encryption", "identity"]


def test_an_old_job_of_which_nothing_is_understood_keeps_nobody_from_a_new_rekey(harness: RotationHarness) -> None:
    harness.cluster.begin()
    harness.cluster.jobs[7] = RekeyJob(7, complete=False, understood=False)
    rotation = harness.run()
    assert (rotation.outcome, harness.cluster.rekeys) == (Outcome.ROTATED, 2)


def test_what_was_not_understood_is_kept_once_for_each_member_and_not_without_end(harness: RotationHarness) -> None:
    harness.start()
    job = harness.cluster.jobs[7]
    for look in range(3):
        odd = tuple(Unfamiliar(f"GetAsyncResult.{number}", str(look)) for number in range(MOST_UNFAMILIAR + 5))
        harness.cluster.jobs[7] = replace(job, unfamiliar=odd)
        harness.check()
    kept = harness.record().unfamiliar
    assert kept == tuple(Unfamiliar(f"GetAsyncResult.{number}", "0") for number in range(MOST_UNFAMILIAR))


def test_a_refused_rekey_that_left_the_cluster_unchanged_is_refused(harness: RotationHarness) -> None:
    harness.cluster.failing = {"rekey": [RekeyRefused("Answered with xAssumed.", name="xAssumed")]}
    with pytest.raises(RekeyRefused):
        harness.start()
    assert harness.record().intent is None
    assert harness.record().following is None


def test_a_rekey_refused_because_somebody_else_was_quicker_follows_theirs(harness: RotationHarness) -> None:
    harness.cluster.failing = {"rekey": [RekeyRefused("One is running.", name="xAssumed")]}
    harness.cluster.before = {"rekey": harness.cluster.begin}
    step = harness.start()
    assert step.status is Status.CHECK_AGAIN
    assert step.rotation.following
    assert (step.rotation.following.async_handle, step.rotation.following.ours) == (7, False)
    assert step.rotation.following.presumed_ours is False
    assert harness.cluster.rekeys == 1


def test_a_refused_rekey_whose_state_cannot_be_read_stays_open(harness: RotationHarness) -> None:
    harness.cluster.failing = {"rekey": [RekeyRefused("Answered with xAssumed.", name="xAssumed")]}
    harness.cluster.before = {
        "rekey": lambda: harness.cluster.failing.update(encryption=[ClusterUnavailable("No answer.")])
    }
    with pytest.raises(ClusterUnavailable):
        harness.start()
    assert harness.record().intent, "nobody knows yet"
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
