from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey.codec import encode
from element_rekey.errors import (
    AwsCallFailed,
    ClusterUnavailable,
    CredentialsRefused,
    ExecutionAborted,
    RekeyOutcomeUnknown,
    RotationOverdue,
)
from element_rekey.inputs import parse_request
from element_rekey.notifications import build_notification
from element_rekey.outcomes import Outcome, Trigger
from element_rekey.records import Failure, Request
from element_rekey.rotation.steps import Status
from tests.fakes import NOW, SETTINGS
from tests.retries import waits_after
from tests.template import CHECK, START
from tests.unit.harness import RotationHarness
from tests.unit.rotation.stopped import STOPPED
from tests.unit.samples import ARN, BROKEN, DAY, HOUR, MINUTE, OTHER_ARN, key

if TYPE_CHECKING:
    from collections.abc import Callable


LEDGER = (
    *("take_lock", "release_lock", "memory", "remember", "rotation", "save", "save_intent", "save_seen"),
    *("owner", "claim", "move"),
)
CLUSTER = ("check_api_version", "identity", "version", "faults", "encryption", "rekey_job")


@pytest.fixture
def harness() -> RotationHarness:
    return RotationHarness()


def published_outcomes(harness: RotationHarness) -> list[Outcome | None]:
    return [rotation.outcome for rotation in harness.topic.published]


def test_a_rotation(harness: RotationHarness) -> None:
    ended = harness.run()
    assert ended.outcome is Outcome.ROTATED
    assert ended.polls > 1
    assert harness.cluster.rekeys == 1
    assert published_outcomes(harness) == [Outcome.ROTATED]
    assert harness.ledger.lock("prod-a") is None


def test_an_alarm_has_a_key_of_unknown_age_replaced_and_does_so_once(harness: RotationHarness) -> None:
    harness.cluster.key = key("key-0", made=None)
    harness.request = Request("prod-a", trigger=Trigger.ALARM, reason="alarm x", key_created_after=NOW - MINUTE)
    assert harness.run().outcome is Outcome.ROTATED
    made = harness.cluster.key
    harness.cluster.key = replace(made, key_created_time=None)
    harness.execution = replace(harness.execution, id=OTHER_ARN)
    assert harness.run().outcome is Outcome.NOT_DUE
    assert harness.cluster.rekeys == 1


def test_a_rekey_that_fails(harness: RotationHarness) -> None:
    harness.finish_with = BROKEN
    ended = harness.run()
    assert ended.outcome is Outcome.FAILED
    assert ended.failure
    assert ended.failure.error == "RekeyFailed"
    assert published_outcomes(harness) == [Outcome.FAILED]
    assert harness.ledger.lock("prod-a") is None


class FaultInjector:
    """Every call of the named methods is counted; the one with the given number fails, before or after its effect."""

    def __init__(self, number: int, *, effective: bool) -> None:
        self.number = number
        self.effective = effective
        self.calls = 0

    def wrap(self, monkeypatch: pytest.MonkeyPatch, target: object, names: tuple[str, ...], error: Exception) -> None:
        for name in names:
            monkeypatch.setattr(target, name, self._with_fault(getattr(target, name), error))

    def _with_fault(self, real: Callable[..., Any], error: Exception) -> Callable[..., Any]:
        def call(*arguments: object) -> Any:  # noqa: ANN401 - whatever the method gives
            self.calls += 1
            if self.calls != self.number:
                return real(*arguments)
            if self.effective:
                real(*arguments)
            raise error

        return call


def calls_of_a_rotation(*, lost: bool) -> int:
    harness = RotationHarness()
    harness.cluster.lose_answer = lost
    with pytest.MonkeyPatch.context() as patch:
        injector = FaultInjector(0, effective=False)
        injector.wrap(patch, harness.ledger, LEDGER, AssertionError())
        injector.wrap(patch, harness.cluster, CLUSTER, AssertionError())
        injector.wrap(patch, harness.topic, ("publish",), AssertionError())
        harness.run()
    return injector.calls


ANSWERED, LOST = calls_of_a_rotation(lost=False), calls_of_a_rotation(lost=True)


@pytest.mark.parametrize("effective", [False, True], ids=["without effect", "with effect"])
@pytest.mark.parametrize(
    ("lost", "number"),
    [(False, number) for number in range(1, ANSWERED + 1)] + [(True, number) for number in range(1, LOST + 1)],
)
def test_whatever_call_breaks_the_key_is_rotated_once_and_reported(
    number: int, *, effective: bool, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = RotationHarness()
    harness.cluster.lose_answer = lost
    injector = FaultInjector(number, effective=effective)
    injector.wrap(monkeypatch, harness.ledger, LEDGER, AwsCallFailed("No answer."))
    injector.wrap(monkeypatch, harness.cluster, CLUSTER, ClusterUnavailable("No answer."))
    injector.wrap(monkeypatch, harness.topic, ("publish",), AwsCallFailed("No answer."))
    ended = harness.run()
    assert injector.calls >= number, "it was reached"
    assert ended.outcome is Outcome.ROTATED
    assert harness.cluster.rekeys == 1
    assert set(published_outcomes(harness)) == {Outcome.ROTATED}
    assert len({rotation.execution.id for rotation in harness.topic.published}) == 1
    assert harness.ledger.lock("prod-a") is None


@pytest.mark.parametrize("number", range(1, ANSWERED + 1))
def test_wherever_an_execution_is_stopped_the_next_one_begins_no_second_rekey_for_the_same_alarm(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function dies at a call, nobody repeats it, the execution is stopped; the alarm comes again."""

    class Died(Exception):
        pass

    harness = RotationHarness(request=Request("prod-a", trigger=Trigger.ALARM, key_created_after=NOW - MINUTE))
    with monkeypatch.context() as patch:
        injector = FaultInjector(number, effective=True)
        injector.wrap(patch, harness.ledger, LEDGER, Died())
        injector.wrap(patch, harness.cluster, (*CLUSTER, "rekey"), Died())
        injector.wrap(patch, harness.topic, ("publish",), Died())
        with pytest.raises(Died):
            harness.run()
    harness.clock.advance(121)
    harness.publish(Failure("ExecutionAborted", "Stopped.", ExecutionAborted.next_step))
    second = harness.another(OTHER_ARN)
    ended = second.run()
    assert ended.outcome in {Outcome.ROTATED, Outcome.FOLLOWED, Outcome.NOT_DUE}
    assert harness.cluster.rekeys == 1
    assert {rotation.execution.id for rotation in harness.topic.published} == {harness.execution.id, OTHER_ARN}
    assert harness.ledger.lock("prod-a") is None


@pytest.mark.parametrize("skew", [-5 * HOUR, timedelta(), 5 * HOUR], ids=["late", "right", "ahead"])
@pytest.mark.parametrize("trigger", [Trigger.ALARM, Trigger.SCHEDULE])
def test_a_demand_that_is_delivered_twice_rotates_once_whatever_the_clusters_clock_says(
    skew: timedelta, trigger: Trigger
) -> None:
    created_after = NOW - MINUTE if trigger is Trigger.ALARM else NOW - HOUR
    harness = RotationHarness(request=Request("prod-a", trigger=trigger, key_created_after=created_after))
    harness.cluster.skew = skew
    assert harness.run().outcome is Outcome.ROTATED
    harness.clock.advance(60)
    second = harness.another(OTHER_ARN)
    assert second.run().outcome is Outcome.NOT_DUE
    assert harness.cluster.rekeys == 1


LATE_RIGHT_AHEAD = pytest.mark.parametrize("skew", [-5 * HOUR, timedelta(), 5 * HOUR], ids=["late", "right", "ahead"])
ABORTED = Failure("ExecutionAborted", "Stopped.", ExecutionAborted.next_step)
OVERDUE = Failure("RotationOverdue", "Still running.", RotationOverdue.next_step)


@STOPPED
@LATE_RIGHT_AHEAD
@pytest.mark.parametrize("read_away", [False, True])
@pytest.mark.parametrize("trigger", [Trigger.ALARM, Trigger.SCHEDULE])
def test_the_same_reason_again_after_a_stopped_execution_whose_rekey_went_through_rotates_no_second_time(
    stopped_after: Callable[[RotationHarness], None], skew: timedelta, trigger: Trigger, *, read_away: bool
) -> None:
    """Nobody saw the new key being made; the last sight of the one before it is the witness."""
    harness = RotationHarness(request=Request("prod-a", trigger=trigger, key_created_after=NOW - MINUTE))
    harness.cluster.skew = skew
    stopped_after(harness)
    harness.publish(ABORTED)
    harness.clock.advance(300)
    harness.cluster.finish()
    if read_away:
        harness.cluster.jobs.clear()
        harness.cluster.handle = None
    harness.clock.advance(300)
    assert harness.another(OTHER_ARN).run().outcome is Outcome.NOT_DUE
    harness.clock.advance(300)
    assert harness.another(f"{ARN}-third").run().outcome is Outcome.NOT_DUE
    assert harness.cluster.rekeys == 1


@STOPPED
@LATE_RIGHT_AHEAD
def test_the_same_reason_again_while_the_rekey_of_a_stopped_execution_runs_follows_it(
    stopped_after: Callable[[RotationHarness], None], skew: timedelta
) -> None:
    harness = RotationHarness(request=Request("prod-a", trigger=Trigger.ALARM, key_created_after=NOW - MINUTE))
    harness.cluster.skew = skew
    stopped_after(harness)
    harness.publish(ABORTED)
    harness.clock.advance(10)
    assert harness.another(OTHER_ARN).run().outcome in {Outcome.FOLLOWED, Outcome.NOT_DUE}
    assert harness.cluster.rekeys == 1


@LATE_RIGHT_AHEAD
def test_somebody_elses_rekey_between_two_runs_is_as_young_as_the_last_look_says(skew: timedelta) -> None:
    harness = RotationHarness(request=Request("prod-a", trigger=Trigger.ALARM, key_created_after=NOW - MINUTE))
    cooling = harness.another(OTHER_ARN, cool_down_seconds=500 * 86400)
    assert cooling.start().rotation.cooling_until
    harness.clock.advance(600)
    harness.cluster.skew = skew
    harness.cluster.begin()
    harness.clock.advance(60)
    harness.cluster.finish()
    harness.clock.advance(600)
    assert harness.run().outcome is Outcome.NOT_DUE
    assert harness.cluster.rekeys == 1


@pytest.mark.parametrize("skew", [-5 * HOUR, timedelta()], ids=["late", "right"])
def test_a_rekey_that_was_running_before_the_alarm_does_not_answer_it(skew: timedelta) -> None:
    """Its key may have been made before the alarm, however late it became the current one."""
    harness = RotationHarness()
    harness.cluster.skew = skew
    harness.cluster.begin()
    harness.clock.advance(20)
    alarmed = harness.another(OTHER_ARN, trigger=Trigger.ALARM, key_created_after=NOW + timedelta(seconds=10))
    assert alarmed.run().outcome is Outcome.ROTATED
    assert harness.cluster.rekeys == 2


def started_again(harness: RotationHarness, arn: str) -> RotationHarness:
    """A new execution with the input of the last notification, as it travels."""
    notification = json.loads(json.dumps(encode(build_notification(harness.topic.published[-1]))))
    again = harness.another(arn)
    again.request = parse_request(notification["startAgainWith"])
    return again


# --- started again with what the notification gives ---


@STOPPED
@LATE_RIGHT_AHEAD
@pytest.mark.parametrize("failure", [ABORTED, OVERDUE], ids=lambda one: one.error)
@pytest.mark.parametrize("trigger", [one for one in Trigger if not one.looks_only])
def test_started_again_after_the_rekey_went_through_nothing_is_rotated(
    stopped_after: Callable[[RotationHarness], None], skew: timedelta, failure: Failure, trigger: Trigger
) -> None:
    asked_for = None if trigger is Trigger.MANUAL else NOW - MINUTE
    harness = RotationHarness(request=Request("prod-a", trigger=trigger, key_created_after=asked_for))
    harness.cluster.skew = skew
    harness.clock.advance(1)
    stopped_after(harness)
    harness.publish(failure)
    harness.clock.advance(300)
    harness.cluster.finish()
    assert started_again(harness, OTHER_ARN).run().outcome is Outcome.NOT_DUE
    assert harness.cluster.rekeys == 1


@STOPPED
@LATE_RIGHT_AHEAD
def test_started_again_and_again_while_the_rekey_runs_it_is_followed(
    stopped_after: Callable[[RotationHarness], None], skew: timedelta
) -> None:
    harness = RotationHarness()
    harness.cluster.skew = skew
    harness.clock.advance(1)
    stopped_after(harness)
    harness.publish(ABORTED)
    harness.clock.advance(SETTINGS.settling.total_seconds())
    second = started_again(harness, OTHER_ARN)
    assert second.start().status is Status.CHECK_AGAIN
    second.publish(OVERDUE)
    third = started_again(harness, f"{ARN}-third")
    assert third.request == second.request, "the first moment stays"
    assert third.run().outcome is Outcome.FOLLOWED
    assert published_outcomes(harness) == [Outcome.OUTCOME_UNKNOWN, Outcome.OVERDUE, Outcome.FOLLOWED]
    assert harness.cluster.rekeys == 1


def test_started_again_after_a_rekey_that_never_arrived_the_key_is_rotated_once(harness: RotationHarness) -> None:
    harness.cluster.failing = {"rekey": [RekeyOutcomeUnknown("Reset.")]}
    with pytest.raises(RekeyOutcomeUnknown):
        harness.start()
    harness.publish(ABORTED)
    harness.clock.advance(10)
    assert started_again(harness, OTHER_ARN).run().outcome is Outcome.ROTATED
    assert harness.cluster.rekeys == 1


# --- an error after the change of keys ---


def test_a_rekey_of_ours_that_changed_the_keys_and_ended_with_an_error_is_reported_once(
    harness: RotationHarness,
) -> None:
    harness.request = Request("prod-a", key_created_after=NOW - MINUTE)
    harness.finish_with, harness.finish_with_new_key = BROKEN, True
    ended = harness.run()
    assert ended.outcome is Outcome.ROTATED_WITH_ERROR
    assert ended.failure
    assert ended.failure.error == "RekeyEndedWithError"
    assert harness.another(OTHER_ARN).run().outcome is Outcome.NOT_DUE
    assert published_outcomes(harness) == [Outcome.ROTATED_WITH_ERROR, Outcome.NOT_DUE]
    assert harness.cluster.rekeys == 1


@pytest.mark.parametrize("skew", [-5 * HOUR, timedelta()], ids=["late", "right"])
@pytest.mark.parametrize("failure", [ABORTED, OVERDUE], ids=lambda one: one.error)
def test_the_error_of_a_rekey_whose_execution_is_gone_is_reported_by_the_next_one_and_only_by_it(
    skew: timedelta, failure: Failure
) -> None:
    harness = RotationHarness()
    harness.cluster.skew = skew
    harness.clock.advance(1)
    harness.start()
    harness.publish(failure)
    again = started_again(harness, OTHER_ARN)
    harness.clock.advance(300)
    harness.cluster.finish(BROKEN)
    ended = again.run()
    assert ended.outcome is Outcome.ROTATED_WITH_ERROR
    assert ended.failure
    assert (ended.failure.error, BROKEN.message in ended.failure.cause) == ("RekeyEndedWithError", True)
    third = again.another(f"{ARN}-third")
    assert third.run().outcome is Outcome.NOT_DUE
    assert published_outcomes(harness)[1:] == [Outcome.ROTATED_WITH_ERROR, Outcome.NOT_DUE]
    assert harness.cluster.rekeys == 1


def test_the_error_of_an_overdue_rekey_that_the_next_execution_follows_is_reported_once(
    harness: RotationHarness,
) -> None:
    harness.finish_with, harness.finish_with_new_key = BROKEN, True
    harness.clock.advance(1)
    harness.start()
    harness.publish(OVERDUE)
    again = started_again(harness, OTHER_ARN)
    assert again.run().outcome is Outcome.ROTATED_WITH_ERROR
    assert again.another(f"{ARN}-third").run().outcome is Outcome.NOT_DUE
    assert harness.cluster.rekeys == 1


# --- what an outcome may claim ---


def test_somebody_elses_rekey_that_we_lost_sight_of_is_not_reported_as_a_failure(harness: RotationHarness) -> None:
    harness.cluster.begin()
    harness.start()
    harness.cluster.failing = {"rekey_job": [CredentialsRefused("HTTP 401.")] * 3}
    ended = harness.run()
    assert ended.outcome is Outcome.OUTCOME_UNKNOWN
    assert ended.failure
    assert ended.failure.error == "CredentialsRefused"
    assert build_notification(ended).start_again_with


@pytest.mark.parametrize("refusals", [1, 2])
def test_an_authentication_service_that_is_away_for_a_moment_ends_no_rotation_under_way(
    harness: RotationHarness, refusals: int
) -> None:
    harness.start()
    harness.cluster.failing = {"rekey_job": [CredentialsRefused("HTTP 401.")] * refusals}
    begun = harness.clock.now
    assert harness.run().outcome is Outcome.ROTATED
    assert harness.clock.now - begun >= refusals * MINUTE
    assert harness.cluster.rekeys == 1


def test_credentials_are_tried_thrice_at_most_and_once_only_before_a_rekey(harness: RotationHarness) -> None:
    assert waits_after(START, "CredentialsRefused") == ()
    assert waits_after(CHECK, "CredentialsRefused") == (60.0, 60.0)
    harness.start()
    harness.cluster.calls.clear()
    harness.cluster.failing = {"rekey_job": [CredentialsRefused("HTTP 401.")] * 9}
    assert harness.run().outcome is Outcome.OUTCOME_UNKNOWN
    assert harness.cluster.calls.count("rekey_job") == 3


def test_a_run_whose_own_rekey_made_a_key_never_claims_to_have_changed_nothing(harness: RotationHarness) -> None:
    """Another rekey came after ours, and then the cluster was gone."""
    harness.start()
    harness.clock.advance(40)
    harness.cluster.finish()
    harness.cluster.begin()
    harness.cluster.finish()
    assert harness.check().status is Status.START_AGAIN
    harness.cluster.failing = {"identity": [CredentialsRefused("HTTP 401.")]}
    ended = harness.run()
    assert ended.outcome is Outcome.OUTCOME_UNKNOWN
    assert build_notification(ended).new_key == key("key-1", None), "a job names its keys without their times"


def test_a_demand_from_the_future_is_refused_however_often_it_comes(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_created_after=NOW + HOUR)
    ended = harness.run()
    assert ended.outcome is Outcome.FAILED
    assert ended.failure
    assert ended.failure.error == "RequestInvalid"
    assert harness.another(OTHER_ARN).run().outcome is Outcome.FAILED
    assert harness.cluster.rekeys == 0


def test_two_executions_at_once_take_turns_and_the_second_finds_its_demand_met(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_created_after=NOW - MINUTE)
    harness.start()
    second = harness.another(OTHER_ARN)
    assert "Waiting for execution" in second.start().rotation.detail
    assert harness.run().outcome is Outcome.ROTATED
    assert second.run().outcome is Outcome.NOT_DUE
    assert harness.cluster.rekeys == 1


def test_what_was_overdue_is_followed_by_the_next_run(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_created_after=NOW - MINUTE)
    harness.start()
    harness.publish(Failure("RotationOverdue", "Still running.", "Watch."))
    assert published_outcomes(harness) == [Outcome.OVERDUE]
    second = harness.another(OTHER_ARN)
    assert second.run().outcome is Outcome.FOLLOWED
    assert harness.cluster.rekeys == 1


def test_a_stopped_execution_whose_rekey_ended_meanwhile_leaves_nothing_to_do(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", key_created_after=NOW - MINUTE)
    harness.start()
    harness.publish(Failure("ExecutionAborted", "Stopped.", ExecutionAborted.next_step))
    harness.clock.advance(300)
    harness.cluster.finish()
    assert harness.another(OTHER_ARN).run().outcome is Outcome.NOT_DUE
    assert published_outcomes(harness) == [Outcome.OUTCOME_UNKNOWN, Outcome.NOT_DUE]
    assert harness.cluster.rekeys == 1


def test_a_day_later_the_same_wish_by_hand_is_a_new_one(harness: RotationHarness) -> None:
    harness.run()
    harness.clock.now += DAY
    assert harness.another(OTHER_ARN).run().outcome is Outcome.ROTATED
    assert harness.cluster.rekeys == 2


def test_a_rekey_that_takes_too_long_is_overdue_and_keeps_no_lock(harness: RotationHarness) -> None:
    harness.start()
    harness.cluster.jobs[7] = replace(harness.cluster.jobs[7], create_time=NOW + DAY)  # it does not end in this test
    assert harness.run().outcome is Outcome.OVERDUE
    assert published_outcomes(harness) == [Outcome.OVERDUE]
    assert harness.ledger.lock("prod-a") is None


def test_dry_runs_leave_the_cluster_as_it_was(harness: RotationHarness) -> None:
    harness.request = Request("prod-a", dry_run=True)
    before = harness.cluster.key
    assert harness.run().outcome is Outcome.PLANNED
    assert (harness.cluster.key, harness.cluster.rekeys, harness.cluster.handle) == (before, 0, None)
    assert published_outcomes(harness) == [Outcome.PLANNED]
