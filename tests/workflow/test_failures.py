"""Errors on the way: what is retried and for how long, what is caught, and how each outcome is published."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from element_rekey.errors import AwsCallFailed
from element_rekey.records import Lock
from local.simulator import ClusterSpec, Fault
from tests.aws_errors import WAKING, names
from tests.fakes import FakeTopic
from tests.retries import attempts, waits_after
from tests.template import CHECK, PUBLISH, START
from tests.workflow.clock import BEGIN
from tests.workflow.full_harness import full_harness
from tests.workflow.harness import SETTINGS
from tests.workflow.interpreter import FunctionFailed, lambda_error, task_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from element_rekey.records import Rotation
    from tests.workflow.full_harness import FullHarness

REKEY = "RekeySoftwareEncryptionAtRestMasterKey"
STATE_NAMES = {START: "StartRekey", CHECK: "CheckStatus", PUBLISH: "PublishOutcome"}


@dataclass
class FailingUntil:
    """Has the invocations of one function fail until a moment."""

    function: str
    until: timedelta
    error: Callable[[], Exception]
    harness: FullHarness
    first: timedelta | None = None

    def __call__(self, function: str, _number: int) -> None:
        if function == self.function:
            now = self.harness.clock() - BEGIN
            self.first = now if self.first is None else self.first
            if now - self.first < self.until:
                raise self.error()


def crash(name: str) -> Callable[[], Exception]:
    return lambda: FunctionFailed(name, "The function died.")


def service(name: str) -> Callable[[], Exception]:
    return lambda: lambda_error(name)


RETRIED_AS = {"ExecutionBroken": "States.Timeout"}
"""The error that Step Functions retries, where the notification names another."""

PASSING = [
    *(pytest.param(crash(name), id=name) for name in ("Lambda.Unknown", "Runtime.ExitError", "Sandbox.Timedout")),
    *(pytest.param(service(name), id=name) for name in ("ServiceException", "TooManyRequestsException")),
    pytest.param(task_timeout, id="States.Timeout"),
]


@pytest.mark.parametrize("function", [START, CHECK, PUBLISH])
@pytest.mark.parametrize("name", ["ResourceNotReadyException", "ENINotReadyException"])
def test_a_function_that_needs_106_seconds_to_wake_up_is_waited_for(
    harness: FullHarness, function: str, name: str
) -> None:
    harness.before_invocation = FailingUntil(function, timedelta(seconds=106), service(name), harness)

    ended = harness.rotate()

    assert ended.output["outcome"] == "Rotated"
    assert len(harness.cluster.cluster.rekeys) == len(harness.notifications()) == 1


@pytest.mark.parametrize("function", [START, CHECK, PUBLISH])
@pytest.mark.parametrize("name", sorted(names("lambda:invoke", WAKING)))
def test_a_function_that_was_idle_for_weeks_and_refuses_twenty_calls_still_rotates_once(
    harness: FullHarness, function: str, name: str
) -> None:
    """Its network interfaces are made anew: 409 while it is Pending, and whatever EC2 has against it."""

    def refuse(called: str, number: int) -> None:
        if called == function and number <= 20:
            raise lambda_error(name.removeprefix("Lambda."))

    harness.before_invocation = refuse

    ended = harness.rotate()

    assert ended.output["outcome"] == "Rotated"
    assert len(harness.cluster.cluster.rekeys) == len(harness.notifications()) == 1


def test_an_account_without_capacity_for_an_hour_leaves_the_outcome_of_a_rekey_known(harness: FullHarness) -> None:
    """The lock runs out meanwhile; whoever takes it finds what the first one began."""
    harness.before_invocation = FailingUntil(CHECK, timedelta(minutes=50), service("TooManyRequestsException"), harness)
    first = harness.start({"cluster": "prod-a"})

    def state_the_demand_again() -> None:
        harness.start({"cluster": "prod-a", "keyCreatedAfter": BEGIN.isoformat()})

    harness.clock.after(1800, state_the_demand_again)

    harness.clock.run()

    assert [one["outcome"] for one in harness.notifications()] == ["NotDue", "Rotated"]
    assert harness.execution(first).output["outcome"] == "Rotated"
    assert len(harness.cluster.cluster.rekeys) == 1
    assert harness.lock() is None


@pytest.mark.parametrize("function", [START, CHECK, PUBLISH])
@pytest.mark.parametrize("error", PASSING)
def test_a_passing_trouble_of_lambda_is_waited_for(
    harness: FullHarness, function: str, error: Callable[[], Exception]
) -> None:
    harness.before_invocation = FailingUntil(function, timedelta(minutes=4), error, harness)

    ended = harness.rotate()

    assert ended.output["outcome"] == "Rotated"
    assert len(harness.cluster.cluster.rekeys) == len(harness.notifications()) == 1


@pytest.mark.parametrize(
    ("function", "outcome", "rekeys"), [(START, "Failed", 0), (CHECK, "OutcomeUnknown", 1)], ids=["start", "check"]
)
@pytest.mark.parametrize(
    ("error", "name"),
    [(service("TooManyRequestsException"), "Lambda.TooManyRequestsException"), (task_timeout, "ExecutionBroken")],
    ids=["throttled", "timeout"],
)
def test_a_trouble_of_lambda_that_stays_is_reported(
    harness: FullHarness, function: str, outcome: str, rekeys: int, error: Callable[[], Exception], name: str
) -> None:
    harness.before_invocation = FailingUntil(function, timedelta(days=1), error, harness)

    ended = harness.rotate()

    assert (ended.status, ended.states[-1]) == ("FAILED", "RotationFailed")
    assert harness.calls[function] == attempts(function, RETRIED_AS.get(name, name)) > 1
    assert harness.only_notification()["outcome"] == outcome
    assert harness.only_notification()["error"] == name
    assert ended.error == (outcome if outcome == "OutcomeUnknown" else name)
    assert ("Start again only so: aws stepfunctions start-execution " in ended.cause) is (outcome == "OutcomeUnknown")
    assert harness.only_notification()["nextStep"]
    assert len(harness.cluster.cluster.rekeys) == rekeys
    assert harness.lock() is None


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("refuseConnections", seconds=86400.0), "ClusterUnavailable"),
        (Fault("html503", times=None), "ClusterUnavailable"),
        (Fault("rpcError", name="xDBConnectionLoss", method="GetClusterInfo", times=None), "ClusterUnavailable"),
        (Fault("rpcError", name="xPermissionDenied", method="GetClusterInfo", times=None), "PermissionDenied"),
    ],
    ids=["refused", "503", "transient", "permission"],
)
def test_a_cluster_that_stays_away_is_tried_so_often_and_then_reported(
    harness: FullHarness, fault: Fault, error: str
) -> None:
    harness.cluster.inject(fault)

    ended = harness.rotate()

    assert ended.error == error
    assert harness.only_notification()["outcome"] == "Failed"
    assert harness.calls[START] == attempts(START, error) > 1
    assert harness.cluster.cluster.rekeys == ()


def test_a_cluster_that_comes_back_within_five_minutes_is_rotated(harness: FullHarness) -> None:
    harness.cluster.inject(Fault("refuseConnections", connections=0, seconds=300.0))

    assert harness.rotate().output["outcome"] == "Rotated"


@pytest.mark.parametrize(
    ("phase", "error", "outcome", "replaced"),
    [
        ("CreateNewMasterKey", "RekeyFailed", "Failed", False),
        ("RewrapDataEncryptionKeys", "RekeyFailed", "Failed", False),
        ("DecommissionOldMasterKey", "RekeyEndedWithError", "RotatedWithError", True),
    ],
)
def test_a_rekey_that_fails_in_a_phase_is_reported_by_what_it_left(
    harness: FullHarness, phase: str, error: str, outcome: str, *, replaced: bool
) -> None:
    before = harness.cluster.cluster.current_key
    harness.cluster.inject(Fault("phaseFailure", phase=phase, name="xKmipError", message="no answer"))

    ended = harness.rotate()

    assert ended.error == error
    assert harness.only_notification()["outcome"] == outcome
    assert "xKmipError" in harness.only_notification()["cause"]
    assert (harness.cluster.cluster.current_key != before) == replaced
    assert harness.lock() is None


def test_a_rekey_that_is_never_seen_is_sent_twice_at_most_and_reported_as_unknown(harness: FullHarness) -> None:
    harness.cluster.inject(Fault("resetBeforeProcessing", method=REKEY, times=None))

    ended = harness.rotate()

    assert ended.error == "OutcomeUnknown"
    assert ended.cause.startswith("RekeyOutcomeUnknown: ")
    assert harness.only_notification()["outcome"] == "OutcomeUnknown"
    assert harness.cluster.cluster.calls[REKEY] == 2
    first, second = (one.when for one in harness.cluster.cluster.requests if one.method == REKEY)
    assert second - first >= harness.ports.settings.settling


@pytest.mark.parametrize(
    "fault",
    [
        Fault("resetAfterProcessing", method=REKEY),
        Fault("truncatedBody", method=REKEY),
        Fault("nullResult", method=REKEY),
        Fault("html503", method=REKEY, applied=True),
        Fault("stall", method=REKEY, applied=True, seconds=0.05),
        Fault("rpcError", method=REKEY, applied=True, name="xDBConnectionLoss"),
    ],
    ids=lambda fault: fault.fault,
)
def test_a_rekey_whose_answer_is_lost_is_found_and_followed(harness: FullHarness, fault: Fault) -> None:
    harness.cluster.inject(fault)

    ended = harness.rotate()

    assert ended.output["outcome"] == "Rotated"
    assert harness.cluster.cluster.calls[REKEY] == 1
    assert [error for _, error, _ in harness.failures] == ["RekeyOutcomeUnknown"]


def test_a_rekey_that_replaced_another_key_than_was_seen_is_not_called_proven(harness: FullHarness) -> None:
    harness.cluster.inject(Fault("competingRekey", method=REKEY, seconds=0.0))

    ended = harness.rotate()

    assert ended.error == "OutcomeUnknown"
    assert ended.cause.startswith("RotationNotProven: ")
    assert harness.only_notification()["outcome"] == "OutcomeUnknown"
    assert harness.calls[CHECK] >= attempts(CHECK, "RotationNotProven") > 1


def test_a_rekey_that_outlasts_the_deadline_is_reported_as_overdue_and_followed_by_the_next_run() -> None:
    with full_harness(ClusterSpec(rekey_seconds=3600.0)) as harness:
        harness.change_settings(deadline=timedelta(minutes=45))
        first = harness.rotate({"cluster": "prod-a", "keyCreatedAfter": BEGIN.isoformat()})
        assert harness.only_notification()["outcome"] == "Overdue"
        assert harness.lock() is None

        second = harness.rotate({"cluster": "prod-a", "keyCreatedAfter": BEGIN.isoformat()})

        assert first.error == "RotationOverdue"
        assert second.output["outcome"] == "Followed"
        assert len(harness.cluster.cluster.rekeys) == 1
        assert harness.notifications()[1]["newKey"]["keyID"] == harness.cluster.cluster.current_key.key_id


def test_a_cluster_that_stays_busy_until_the_deadline_is_reported(harness: FullHarness) -> None:
    harness.ports.ledger.take_lock("prod-a", Lock("somebody", BEGIN + timedelta(days=1)), BEGIN)
    harness.change_settings(deadline=timedelta(hours=1))

    ended = harness.rotate()

    assert (ended.error, ended.states.count("WaitForTurn") > 10) == ("ClusterBusy", True)
    assert harness.only_notification()["outcome"] == "Failed"
    assert harness.cluster.cluster.calls == {}
    assert harness.lock() is not None


def test_a_lock_that_ran_out_is_taken_over(harness: FullHarness) -> None:
    harness.ports.ledger.take_lock("prod-a", Lock("somebody", BEGIN + timedelta(minutes=10)), BEGIN)

    ended = harness.rotate()

    assert ended.output["outcome"] == "Rotated"
    assert harness.cluster.cluster.rekeys[0].begun >= BEGIN + timedelta(minutes=10)


class FailingTopic(FakeTopic):
    """A topic that refuses everything until the test lets it work."""

    failing = True

    def publish(self, rotation: Rotation) -> None:
        if self.failing:
            raise AwsCallFailed("SNS did not publish the outcome.", cluster=rotation.cluster)
        super().publish(rotation)


def test_an_outcome_that_cannot_be_published_ends_as_such_and_is_reported_by_the_rule_when_it_can(
    harness: FullHarness,
) -> None:
    topic = FailingTopic()
    harness.ports = replace(harness.ports, topic=topic)
    arn = harness.start({"cluster": "prod-a"})
    given_up_after = 30 + 75 + sum(waits_after(PUBLISH, "AwsCallFailed"))
    harness.clock.after(given_up_after + 15, lambda: setattr(topic, "failing", False))

    harness.clock.run()

    ended = harness.execution(arn)
    assert (ended.status, ended.error, ended.states[-1]) == ("FAILED", "OutcomeNotPublished", "OutcomeNotPublished")
    assert [rotation.outcome for rotation in topic.published] == ["Rotated"]
    assert harness.dead_letters == []
    assert harness.lock() is None


def test_an_outcome_that_can_never_be_published_becomes_a_dead_letter(harness: FullHarness) -> None:
    harness.ports = replace(harness.ports, topic=FailingTopic())

    ended = harness.rotate()

    assert ended.error == "OutcomeNotPublished"
    assert [event["detail"]["executionArn"] for event in harness.dead_letters] == [ended.arn]
    assert harness.record(ended.arn).outcome == "Rotated"
    assert harness.lock() is None


@pytest.mark.parametrize(
    ("stop", "status", "error"),
    [("stop", "ABORTED", "ExecutionAborted"), ("time_out", "TIMED_OUT", "ExecutionTimedOut")],
    ids=["aborted", "timed-out"],
)
@pytest.mark.parametrize(("after", "outcome"), [(0.5, "OutcomeUnknown"), (20.0, "OutcomeUnknown")])
def test_an_execution_that_is_cut_off_is_reported_and_its_rekey_adopted(
    harness: FullHarness, stop: str, status: str, error: str, after: float, outcome: str
) -> None:
    arn = harness.start({"cluster": "prod-a"})
    harness.clock.after(after, lambda: getattr(harness, stop)(arn))
    harness.clock.run()

    notification = harness.only_notification()
    assert harness.execution(arn).status == status
    assert (notification["outcome"], notification["error"]) == (outcome, error)
    harness.clock.advance(SETTINGS.settling.total_seconds())  # a function may live on that long
    assert harness.lock() is None

    adopted = harness.rotate({"cluster": "prod-a", "keyCreatedAfter": BEGIN.isoformat()})
    assert adopted.output["outcome"] in {"Followed", "NotDue"}
    assert len(harness.cluster.cluster.rekeys) == 1


def test_a_status_event_that_comes_three_times_is_reported_once(harness: FullHarness) -> None:
    arn = harness.start({"cluster": "prod-a"})
    harness.clock.after(20, lambda: harness.stop(arn))
    for seconds in (20, 21, 500):
        harness.clock.after(seconds, lambda: harness.deliver(harness.status_event(arn, "ABORTED")))

    harness.clock.run()

    assert harness.only_notification()["outcome"] == "OutcomeUnknown"
    assert harness.calls[PUBLISH] >= 4


def test_an_event_without_its_input_still_ends_with_a_notification(harness: FullHarness) -> None:
    arn = harness.start({"cluster": "prod-a"})
    event = harness.status_event(arn, "ABORTED")
    del event["detail"]["input"]
    harness.deliver(event)
    harness.cluster.inject(Fault("refuseConnections", seconds=86400.0))

    harness.clock.run()

    assert harness.only_notification()["error"] == "ExecutionAborted"


def test_every_state_of_the_machine_has_its_function() -> None:
    assert set(STATE_NAMES.values()) == {"StartRekey", "CheckStatus", "PublishOutcome"}
