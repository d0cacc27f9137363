"""Whole rotations: the three steps in the state machine's order, with everything breaking once at every place."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from element_rekey.errors import AwsCallFailed, ClusterUnavailable, ExecutionAborted
from element_rekey.model import ElementError, Failure, Outcome, Request, Trigger
from tests.fakes import NOW
from tests.unit.samples import DAY, HOUR, MINUTE, OTHER_ARN
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
def test_whatever_call_breaks_the_key_is_rotated_once_and_told(
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
