"""Whole rotations: the three steps in the state machine's order, with everything breaking once at every place."""

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
from element_rekey.model import ElementError, Failure, Outcome, Request, Trigger
from element_rekey.notifications import notification_of
from element_rekey.rotation import Status
from element_rekey.triggers import request_of
from tests.fakes import NOW, SETTINGS
from tests.unit.samples import ARN, DAY, HOUR, MINUTE, OTHER_ARN, key
from tests.unit.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

BROKEN = ElementError("xAssumed", "Out of entropy.")
LEDGER = ("take_lock", "release_lock", "memory", "remember", "rotation", "save", "save_intent")
CLUSTER = ("check_api_version", "identity", "version", "faults", "encryption", "rekey_job")


@pytest.fixture
def world() -> World:
    return World()


def told(world: World) -> list[Outcome | None]:
    return [rotation.outcome for rotation in world.topic.published]


def test_a_rotation(world: World) -> None:
    ended = world.run()
    assert ended.outcome is Outcome.ROTATED
    assert ended.polls > 1
    assert world.cluster.rekeys == 1
    assert told(world) == [Outcome.ROTATED]
    assert world.ledger.lock("prod-a") is None


def test_a_rekey_that_fails(world: World) -> None:
    world.finish_with = BROKEN
    ended = world.run()
    assert ended.outcome is Outcome.FAILED
    assert ended.failure
    assert ended.failure.error == "RekeyFailed"
    assert told(world) == [Outcome.FAILED]
    assert world.ledger.lock("prod-a") is None


class Breaking:
    """Every call of the named methods is counted; the one with the given number fails, before or after its effect."""

    def __init__(self, number: int, *, effective: bool) -> None:
        self.number = number
        self.effective = effective
        self.calls = 0

    def wrap(self, monkeypatch: pytest.MonkeyPatch, target: object, names: tuple[str, ...], error: Exception) -> None:
        for name in names:
            monkeypatch.setattr(target, name, self._broken(getattr(target, name), error))

    def _broken(self, real: Callable[..., Any], error: Exception) -> Callable[..., Any]:
        def call(*arguments: object) -> Any:  # noqa: ANN401 - whatever the method gives
            self.calls += 1
            if self.calls != self.number:
                return real(*arguments)
            if self.effective:
                real(*arguments)
            raise error

        return call


def calls_of_a_rotation(*, lost: bool) -> int:
    world = World()
    world.cluster.lose_answer = lost
    with pytest.MonkeyPatch.context() as patch:
        breaking = Breaking(0, effective=False)
        breaking.wrap(patch, world.ledger, LEDGER, AssertionError())
        breaking.wrap(patch, world.cluster, CLUSTER, AssertionError())
        breaking.wrap(patch, world.topic, ("publish",), AssertionError())
        world.run()
    return breaking.calls


ANSWERED, LOST = calls_of_a_rotation(lost=False), calls_of_a_rotation(lost=True)


@pytest.mark.parametrize("effective", [False, True], ids=["without effect", "with effect"])
@pytest.mark.parametrize(
    ("lost", "number"),
    [(False, number) for number in range(1, ANSWERED + 1)] + [(True, number) for number in range(1, LOST + 1)],
)
def test_whatever_call_breaks_the_key_is_rotated_once_and_reported(
    number: int, *, effective: bool, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    world.cluster.lose_answer = lost
    breaking = Breaking(number, effective=effective)
    breaking.wrap(monkeypatch, world.ledger, LEDGER, AwsCallFailed("No answer."))
    breaking.wrap(monkeypatch, world.cluster, CLUSTER, ClusterUnavailable("No answer."))
    breaking.wrap(monkeypatch, world.topic, ("publish",), AwsCallFailed("No answer."))
    ended = world.run()
    assert breaking.calls >= number, "it was reached"
    assert ended.outcome is Outcome.ROTATED
    assert world.cluster.rekeys == 1
    assert set(told(world)) == {Outcome.ROTATED}
    assert len({rotation.execution.id for rotation in world.topic.published}) == 1
    assert world.ledger.lock("prod-a") is None


@pytest.mark.parametrize("number", range(1, ANSWERED + 1))
def test_wherever_an_execution_is_stopped_the_next_one_begins_no_second_rekey_for_the_same_alarm(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function dies at a call, nobody repeats it, the execution is stopped; the alarm comes again."""

    class Died(Exception):
        pass

    world = World(request=Request("prod-a", trigger=Trigger.ALARM, key_created_after=NOW - MINUTE))
    with monkeypatch.context() as patch:
        breaking = Breaking(number, effective=True)
        breaking.wrap(patch, world.ledger, LEDGER, Died())
        breaking.wrap(patch, world.cluster, (*CLUSTER, "rekey"), Died())
        breaking.wrap(patch, world.topic, ("publish",), Died())
        with pytest.raises(Died):
            world.run()
    world.clock.pass_seconds(121)
    world.publish(Failure("ExecutionAborted", "Stopped.", ExecutionAborted.next_step))
    second = world.another(OTHER_ARN)
    ended = second.run()
    assert ended.outcome in {Outcome.ROTATED, Outcome.FOLLOWED, Outcome.NOT_DUE}
    assert world.cluster.rekeys == 1
    assert {rotation.execution.id for rotation in world.topic.published} == {world.execution.id, OTHER_ARN}
    assert world.ledger.lock("prod-a") is None


@pytest.mark.parametrize("skew", [-5 * HOUR, timedelta(), 5 * HOUR], ids=["late", "right", "ahead"])
@pytest.mark.parametrize("trigger", [Trigger.ALARM, Trigger.SCHEDULE])
def test_a_demand_that_is_delivered_twice_rotates_once_whatever_the_clusters_clock_says(
    skew: timedelta, trigger: Trigger
) -> None:
    created_after = NOW - MINUTE if trigger is Trigger.ALARM else NOW - HOUR
    world = World(request=Request("prod-a", trigger=trigger, key_created_after=created_after))
    world.cluster.skew = skew
    assert world.run().outcome is Outcome.ROTATED
    world.clock.pass_seconds(60)
    second = world.another(OTHER_ARN)
    assert second.run().outcome is Outcome.NOT_DUE
    assert world.cluster.rekeys == 1


LATE_RIGHT_AHEAD = pytest.mark.parametrize("skew", [-5 * HOUR, timedelta(), 5 * HOUR], ids=["late", "right", "ahead"])
ABORTED = Failure("ExecutionAborted", "Stopped.", ExecutionAborted.next_step)
OVERDUE = Failure("RotationOverdue", "Still running.", RotationOverdue.next_step)


def sent(world: World) -> None:
    world.start()


def sent_and_looked_at(world: World) -> None:
    world.start()
    world.clock.pass_seconds(5)
    world.check()


def sent_and_its_answer_lost(world: World) -> None:
    world.cluster.lose_answer = True
    with pytest.raises(RekeyOutcomeUnknown):
        world.start()


STOPPED = pytest.mark.parametrize("stopped_after", [sent, sent_and_looked_at, sent_and_its_answer_lost])


@STOPPED
@LATE_RIGHT_AHEAD
@pytest.mark.parametrize("read_away", [False, True])
@pytest.mark.parametrize("trigger", [Trigger.ALARM, Trigger.SCHEDULE])
def test_the_same_reason_again_after_a_stopped_execution_whose_rekey_went_through_rotates_no_second_time(
    stopped_after: Callable[[World], None], skew: timedelta, trigger: Trigger, *, read_away: bool
) -> None:
    """Nobody saw the new key being made; the last sight of the one before it is the witness."""
    world = World(request=Request("prod-a", trigger=trigger, key_created_after=NOW - MINUTE))
    world.cluster.skew = skew
    stopped_after(world)
    world.publish(ABORTED)
    world.clock.pass_seconds(300)
    world.cluster.finish()
    if read_away:
        world.cluster.jobs.clear()
        world.cluster.handle = None
    world.clock.pass_seconds(300)
    assert world.another(OTHER_ARN).run().outcome is Outcome.NOT_DUE
    world.clock.pass_seconds(300)
    assert world.another(f"{ARN}-third").run().outcome is Outcome.NOT_DUE
    assert world.cluster.rekeys == 1


@STOPPED
@LATE_RIGHT_AHEAD
def test_the_same_reason_again_while_the_rekey_of_a_stopped_execution_runs_follows_it(
    stopped_after: Callable[[World], None], skew: timedelta
) -> None:
    world = World(request=Request("prod-a", trigger=Trigger.ALARM, key_created_after=NOW - MINUTE))
    world.cluster.skew = skew
    stopped_after(world)
    world.publish(ABORTED)
    world.clock.pass_seconds(10)
    assert world.another(OTHER_ARN).run().outcome in {Outcome.FOLLOWED, Outcome.NOT_DUE}
    assert world.cluster.rekeys == 1


@LATE_RIGHT_AHEAD
def test_somebody_elses_rekey_between_two_runs_is_as_young_as_the_last_look_says(skew: timedelta) -> None:
    world = World(request=Request("prod-a", trigger=Trigger.ALARM, key_created_after=NOW - MINUTE))
    cooling = world.another(OTHER_ARN, cool_down_seconds=500 * 86400)
    assert cooling.run().outcome is Outcome.COOLING_DOWN
    world.clock.pass_seconds(600)
    world.cluster.skew = skew
    world.cluster.begin()
    world.clock.pass_seconds(60)
    world.cluster.finish()
    world.clock.pass_seconds(600)
    assert world.run().outcome is Outcome.NOT_DUE
    assert world.cluster.rekeys == 1


@pytest.mark.parametrize("skew", [-5 * HOUR, timedelta()], ids=["late", "right"])
def test_a_rekey_that_was_running_before_the_alarm_does_not_answer_it(skew: timedelta) -> None:
    """Its key may have been made before the alarm, however late it became the current one."""
    world = World()
    world.cluster.skew = skew
    world.cluster.begin()
    world.clock.pass_seconds(20)
    alarmed = world.another(OTHER_ARN, trigger=Trigger.ALARM, key_created_after=NOW + timedelta(seconds=10))
    assert alarmed.run().outcome is Outcome.ROTATED
    assert world.cluster.rekeys == 2


# --- started again with what the notification gives ---


def started_again(world: World, arn: str) -> World:
    """A new execution with the input of the last notification, as it travels."""
    told_ = json.loads(json.dumps(encode(notification_of(world.topic.published[-1]))))
    again = world.another(arn)
    again.request = request_of(told_["startAgainWith"])
    return again


@STOPPED
@LATE_RIGHT_AHEAD
@pytest.mark.parametrize("failure", [ABORTED, OVERDUE], ids=lambda one: one.error)
@pytest.mark.parametrize("trigger", list(Trigger))
def test_started_again_after_the_rekey_went_through_nothing_is_rotated(
    stopped_after: Callable[[World], None], skew: timedelta, failure: Failure, trigger: Trigger
) -> None:
    asked_for = None if trigger is Trigger.MANUAL else NOW - MINUTE
    world = World(request=Request("prod-a", trigger=trigger, key_created_after=asked_for))
    world.cluster.skew = skew
    world.clock.pass_seconds(1)
    stopped_after(world)
    world.publish(failure)
    world.clock.pass_seconds(300)
    world.cluster.finish()
    assert started_again(world, OTHER_ARN).run().outcome is Outcome.NOT_DUE
    assert world.cluster.rekeys == 1


@STOPPED
@LATE_RIGHT_AHEAD
def test_started_again_and_again_while_the_rekey_runs_it_is_followed(
    stopped_after: Callable[[World], None], skew: timedelta
) -> None:
    world = World()
    world.cluster.skew = skew
    world.clock.pass_seconds(1)
    stopped_after(world)
    world.publish(ABORTED)
    world.clock.pass_seconds(SETTINGS.settling.total_seconds())
    second = started_again(world, OTHER_ARN)
    assert second.start().status is Status.RUNNING
    second.publish(OVERDUE)
    third = started_again(world, f"{ARN}-third")
    assert third.request == second.request, "the first moment stays"
    assert third.run().outcome is Outcome.FOLLOWED
    assert told(world) == [Outcome.OUTCOME_UNKNOWN, Outcome.OVERDUE, Outcome.FOLLOWED]
    assert world.cluster.rekeys == 1


def test_started_again_after_a_rekey_that_never_arrived_the_key_is_rotated_once(world: World) -> None:
    world.cluster.failing = {"rekey": [RekeyOutcomeUnknown("Reset.")]}
    with pytest.raises(RekeyOutcomeUnknown):
        world.start()
    world.publish(ABORTED)
    world.clock.pass_seconds(10)
    assert started_again(world, OTHER_ARN).run().outcome is Outcome.ROTATED
    assert world.cluster.rekeys == 1


# --- an error after the change of keys ---


def test_a_rekey_of_ours_that_changed_the_keys_and_ended_with_an_error_is_reported_once(world: World) -> None:
    world.request = Request("prod-a", key_created_after=NOW - MINUTE)
    world.finish_with, world.finish_with_new_key = BROKEN, True
    ended = world.run()
    assert ended.outcome is Outcome.ROTATED_WITH_ERROR
    assert ended.failure
    assert ended.failure.error == "RekeyEndedWithError"
    assert world.another(OTHER_ARN).run().outcome is Outcome.NOT_DUE
    assert told(world) == [Outcome.ROTATED_WITH_ERROR, Outcome.NOT_DUE]
    assert world.cluster.rekeys == 1


@pytest.mark.parametrize("skew", [-5 * HOUR, timedelta()], ids=["late", "right"])
@pytest.mark.parametrize("failure", [ABORTED, OVERDUE], ids=lambda one: one.error)
def test_the_error_of_a_rekey_whose_execution_is_gone_is_reported_by_the_next_one_and_only_by_it(
    skew: timedelta, failure: Failure
) -> None:
    world = World()
    world.cluster.skew = skew
    world.clock.pass_seconds(1)
    world.start()
    world.publish(failure)
    again = started_again(world, OTHER_ARN)
    world.clock.pass_seconds(300)
    world.cluster.finish(BROKEN)
    ended = again.run()
    assert ended.outcome is Outcome.ROTATED_WITH_ERROR
    assert ended.failure
    assert (ended.failure.error, BROKEN.message in ended.failure.cause) == ("RekeyEndedWithError", True)
    third = again.another(f"{ARN}-third")
    assert third.run().outcome is Outcome.NOT_DUE
    assert told(world)[1:] == [Outcome.ROTATED_WITH_ERROR, Outcome.NOT_DUE]
    assert world.cluster.rekeys == 1


def test_the_error_of_an_overdue_rekey_that_the_next_execution_follows_is_reported_once(world: World) -> None:
    world.finish_with, world.finish_with_new_key = BROKEN, True
    world.clock.pass_seconds(1)
    world.start()
    world.publish(OVERDUE)
    again = started_again(world, OTHER_ARN)
    assert again.run().outcome is Outcome.ROTATED_WITH_ERROR
    assert again.another(f"{ARN}-third").run().outcome is Outcome.NOT_DUE
    assert world.cluster.rekeys == 1


# --- what an outcome may claim ---


def test_somebody_elses_rekey_that_we_lost_sight_of_is_not_reported_as_a_failure(world: World) -> None:
    world.cluster.begin()
    world.start()
    world.cluster.failing = {"rekey_job": [CredentialsRefused("HTTP 401.")]}
    ended = world.run()
    assert ended.outcome is Outcome.OUTCOME_UNKNOWN
    assert ended.failure
    assert ended.failure.error == "CredentialsRefused"
    assert notification_of(ended).start_again_with


def test_a_run_whose_own_rekey_made_a_key_never_claims_to_have_changed_nothing(world: World) -> None:
    """Another rekey came after ours, and then the cluster was gone."""
    world.start()
    world.clock.pass_seconds(40)
    world.cluster.finish()
    world.cluster.begin()
    world.cluster.finish()
    assert world.check().status is Status.REPLAN
    world.cluster.failing = {"identity": [CredentialsRefused("HTTP 401.")]}
    ended = world.run()
    assert ended.outcome is Outcome.OUTCOME_UNKNOWN
    assert notification_of(ended).new_key == key("key-1", NOW)


def test_a_demand_from_the_future_is_refused_however_often_it_comes(world: World) -> None:
    world.request = Request("prod-a", key_created_after=NOW + HOUR)
    ended = world.run()
    assert ended.outcome is Outcome.FAILED
    assert ended.failure
    assert ended.failure.error == "RequestInvalid"
    assert world.another(OTHER_ARN).run().outcome is Outcome.FAILED
    assert world.cluster.rekeys == 0


def test_two_executions_at_once_take_turns_and_the_second_finds_its_demand_met(world: World) -> None:
    world.request = Request("prod-a", key_created_after=NOW - MINUTE)
    world.start()
    second = world.another(OTHER_ARN)
    assert "Waiting for execution" in second.start().rotation.detail
    assert world.run().outcome is Outcome.ROTATED
    assert second.run().outcome is Outcome.NOT_DUE
    assert world.cluster.rekeys == 1


def test_what_was_overdue_is_followed_by_the_next_run(world: World) -> None:
    world.request = Request("prod-a", key_created_after=NOW - MINUTE)
    world.start()
    world.publish(Failure("RotationOverdue", "Still running.", "Watch."))
    assert told(world) == [Outcome.OVERDUE]
    second = world.another(OTHER_ARN)
    assert second.run().outcome is Outcome.FOLLOWED
    assert world.cluster.rekeys == 1


def test_a_stopped_execution_whose_rekey_ended_meanwhile_leaves_nothing_to_do(world: World) -> None:
    world.request = Request("prod-a", key_created_after=NOW - MINUTE)
    world.start()
    world.publish(Failure("ExecutionAborted", "Stopped.", ExecutionAborted.next_step))
    world.clock.pass_seconds(300)
    world.cluster.finish()
    assert world.another(OTHER_ARN).run().outcome is Outcome.NOT_DUE
    assert told(world) == [Outcome.OUTCOME_UNKNOWN, Outcome.NOT_DUE]
    assert world.cluster.rekeys == 1


def test_a_day_later_the_same_wish_by_hand_is_a_new_one(world: World) -> None:
    world.run()
    world.clock.now += DAY
    assert world.another(OTHER_ARN).run().outcome is Outcome.ROTATED
    assert world.cluster.rekeys == 2


def test_a_rekey_that_takes_too_long_is_overdue_and_keeps_no_lock(world: World) -> None:
    world.start()
    world.cluster.jobs[7] = replace(world.cluster.jobs[7], create_time=NOW + DAY)  # it does not end in this test
    assert world.run().outcome is Outcome.OVERDUE
    assert told(world) == [Outcome.OVERDUE]
    assert world.ledger.lock("prod-a") is None


def test_dry_runs_leave_the_cluster_as_it_was(world: World) -> None:
    world.request = Request("prod-a", dry_run=True)
    before = world.cluster.key
    assert world.run().outcome is Outcome.PLANNED
    assert (world.cluster.key, world.cluster.rekeys, world.cluster.handle) == (before, 0, None)
    assert told(world) == [Outcome.PLANNED]
